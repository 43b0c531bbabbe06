package scan

import (
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/steps/scan/analysis"
)

func TestASecretHasItsLayerAndItsInstruction(t *testing.T) {
	layers := ftypes.Layers{{DiffID: "sha256:aa", CreatedBy: "ADD rootfs.tar /"}, {DiffID: "sha256:bb", CreatedBy: "COPY . /app # buildkit"}, {DiffID: "sha256:cc", CreatedBy: "RUN /bin/sh -c rm /app/.env # buildkit"}}
	key := types.DetectedSecret{RuleID: "aws-access-key-id", Severity: "CRITICAL", Title: "AWS Access Key ID", StartLine: 3, EndLine: 3, Match: " key=****\n", Layer: layers[1]}
	for _, tc := range []struct {
		name   string
		target string
		in     *traces
		want   finding.Finding
	}{
		{"in a file", "/app/.env", &traces{layers: layers}, finding.Finding{
			Message: "AWS Access Key ID: key=****",
			Place:   finding.Place{File: "app/.env", Line: 3, EndLine: 3, Layer: "sha256:bb", LayerNumber: 2, Instruction: "COPY . /app"},
		}},
		{"in a file that is gone", "/app/.env", &traces{layers: layers, removed: []analysis.Removed{{Path: "app/.env", Layer: "sha256:bb", By: 3}}}, finding.Finding{
			Message: "AWS Access Key ID: key=**** (layer 3 removes the file, but it is still in the image)",
			Place:   finding.Place{File: "app/.env", Line: 3, EndLine: 3, Layer: "sha256:bb", LayerNumber: 2, Instruction: "COPY . /app"},
		}},
		{"in the configuration", "config.json", &traces{layers: layers, discreet: true}, finding.Finding{
			Message: "AWS Access Key ID in the image's configuration: key=****",
			Place:   finding.Place{File: "config.json", Line: 3, EndLine: 3, Layer: "sha256:bb", LayerNumber: 2, Instruction: "COPY"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Kind, tc.want.Severity, tc.want.Rule, tc.want.Title = finding.Secret, finding.Critical, "aws-access-key-id", "AWS Access Key ID"
			tc.want.Match, tc.want.Fix = "key=****", "revoke it, and build without it"
			got := findings(types.Results{{Target: tc.target, Class: types.ClassSecret, Secrets: []types.DetectedSecret{key}}}, tc.in)
			if diff := cmp.Diff([]finding.Finding{tc.want}, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInstructionsReadLikeTheDockerfile(t *testing.T) {
	for history, want := range map[string]string{
		"":                       "",
		"COPY . /app # buildkit": "COPY . /app",
		"RUN /bin/sh -c apt-get update # buildkit": "RUN apt-get update",
		"apt-get update": "apt-get update", // of docker build, as analysis shortens it
		"RUN |2 TOKEN=canary USER=a b /bin/sh -c make -c x # buildkit": "RUN make -c x",
		"|1 TOKEN=canary /bin/bash -o pipefail -c make":                "RUN make",
		"RUN |1 TOKEN=canary powershell make":                          "RUN",
		"RUN  /bin/sh  -c  set -eux; \t make":                          "RUN set -eux; make",
	} {
		got := strings.TrimSpace(instruction(history))
		if got != want || strings.Contains(got, "canary") {
			t.Errorf("instruction(%q) = %q, want %q", history, got, want)
		}
	}
}

// A file by its name, one in the layer that the next removes.
func TestSensitiveFilesAreFindings(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgClean), map[string]string{"app/.env": "PASSWORD=x\n", "root/.aws/credentials": "[default]\n"}, map[string]string{"app/.wh..env": ""})
	r := c.scan(t)
	r.wantCode(t, 3)
	wantText(t, "stdout", r.stdout, "CRITICAL  sensitive-aws-credentials  root/.aws/credentials  2, COPY test /", "MEDIUM    sensitive-dotenv           app/.env",
		"layer 3 removes the file", "1 CRITICAL, 1 MEDIUM; fail-on critical: fail")
	c.scan(t, "--scanners=vuln").wantCode(t, 0)
	c.write(t, ".trivyignore", "sensitive-aws-credentials # a placeholder\n")
	c.scan(t).wantCode(t, 0)
}

func TestEveryKindOfSensitiveFileHasARule(t *testing.T) {
	for _, kind := range []analysis.SensitiveKind{
		analysis.PrivateKey, analysis.DotEnv, analysis.GitDirectory, analysis.AWSCredentials, analysis.NpmToken,
		analysis.DockerCredentials, analysis.Netrc, analysis.PyPICredentials, analysis.KubeConfig,
	} {
		rule := sensitiveRules[kind]
		if _, err := finding.ParseSeverity(rule.severity); err != nil || rule.title == "" {
			t.Errorf("kind %s has the rule %+v", kind, rule)
		}
	}
}
