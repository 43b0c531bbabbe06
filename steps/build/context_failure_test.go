package build

import (
	"strings"
	"testing"
)

func TestContextsThatCannotBeFetchedAreExplained(t *testing.T) {
	for _, tc := range []struct{ text, message, hint string }{ // texts of BuildKit v0.34.2
		{"failed to solve: failed to read dockerfile: open sub/Dockerfile: no such file or directory", "there is no Dockerfile at sub/Dockerfile in the context", "file is a path in it"},
		{`failed to read dockerfile: failed to load cache key: repository does not contain ref v9, output: ""`, "the git repository has no branch, tag or commit v9", "named whole"},
		{"failed to resolve httpcontext: failed to load cache key: invalid response status 404", "the context's address answers with status 404", "login"},
		{"failed to read downloaded context: failed to load cache key: invalid response status 403", "the context's address answers with status 403", "login"},
		{"failed to read dockerfile: failed to load cache key: unknown scheme git: not found", "the builder cannot read git repositories: it has no git", "install git"},
		{"failed to fetch remote http://127.0.0.1/x.git: git stderr: fatal: could not read Username for 'http://127.0.0.1': terminal prompts disabled : exit status 128",
			"the git repository cannot be read: fatal: could not read Username for 'http://127.0.0.1': terminal prompts disabled", "github-token"},
		{"failed to fetch remote http://127.0.0.1/x.git: git stderr: fatal: repository 'http://127.0.0.1/x.git/' not found : exit status 128",
			"the git repository cannot be read: fatal: repository 'http://127.0.0.1/x.git/' not found", "check the address"},
		{"error fetching default branch for repository ssh://xxxxx@127.0.0.1/x.git: git stderr:\ngit@127.0.0.1: Permission denied (publickey).\r\nfatal: Could not read from remote repository.\n: exit status 128",
			"the git repository cannot be read: git@127.0.0.1: Permission denied (publickey). fatal: Could not read from remote repository.", "input ssh"},
		{"failed to compute cache key: failed to calculate checksum", "", ""},
		{"repository acme/app not found", "", ""},
	} {
		message, hint := contextReason(tc.text)
		if message != tc.message || !strings.Contains(hint, tc.hint) {
			t.Errorf("%s:\n  %q; %q\nwant\n  %q; %q", tc.text, message, hint, tc.message, tc.hint)
		}
	}
}
