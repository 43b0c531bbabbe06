package build

import (
	"fmt"
	"slices"
	"strings"
)

// forFork is m as a build for a fork gets it: without anything secret, unless
// allow-fork-secrets says so. The warning names what was left out; it is empty
// where there was nothing. It is no error, because CIs hand such runs the
// variables empty anyway: a step that needs a secret says required=true.
func (m Mounts) forFork() (left Mounts, warning string) {
	if m.AllowForkSecrets {
		return m, ""
	}
	var names []string
	for _, id := range m.ids() {
		names = append(names, fmt.Sprintf("%q", id))
	}
	for _, record := range m.SSH {
		if id, _, _ := strings.Cut(record, "="); validSecretID(id) {
			names = append(names, fmt.Sprintf("ssh %q", id))
		}
	}
	if m.GitHubToken != "" {
		names = append(names, "github-token")
	}
	if len(names) > 0 {
		warning = "the run is for a fork: left out of its build are " + strings.Join(names, ", ") + " (allow-fork-secrets hands them over)"
	}
	return Mounts{}, warning
}

// ids are the names of the secrets in m; bad entries are passed over. What has
// nothing behind its "=" is no secret, and may well be the last line of a key.
func (m Mounts) ids() []string {
	inline, _ := records(m.Secrets) // what cannot be read has no names
	var ids []string
	for _, record := range slices.Concat(inline, m.SecretEnvs, m.SecretFiles) {
		id, value, _ := strings.Cut(record, "=")
		if id = strings.TrimSpace(id); strings.Trim(value, "=") != "" && validSecretID(id) {
			ids = append(ids, id)
		}
	}
	return ids
}
