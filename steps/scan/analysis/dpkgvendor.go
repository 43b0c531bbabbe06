package analysis

import (
	"slices"
	"strings"
)

// thirdParty reports whether a package comes from a vendor's own repository,
// which only its maintainer gives away. The list is Trivy's, see
// https://github.com/aquasecurity/trivy/issues/9916.
func thirdParty(maintainer string) bool {
	if maintainer == "GitHub" || maintainer == "HashiCorp" {
		return true
	}
	return slices.ContainsFunc([]string{
		"support@docker.com", "@nvidia.com", "Google Cloud CLI Authors", "sapmachine@sap.com", "@hashicorp.com",
		"@microsoft.com", "@mongodb.com", "developers@lists.mariadb.org", "dev@couchdb.apache.org", "info@elastic.co",
		"nginx-packaging@f5.com", "@konghq.com", "@cloudflare.com", "support@influxdb.com", "support@gitlab.com",
		"contact@grafana.com", "@datadoghq.com", "@nodesource.com", "info@tailscale.com", "@openrobotics.org",
		"@osrfoundation.org",
	}, func(part string) bool { return strings.Contains(maintainer, part) })
}
