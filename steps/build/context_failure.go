package build

import (
	"fmt"
	"regexp"
	"strings"
)

// What BuildKit says of a context that it cannot fetch; as with all its errors,
// the text is all there is.
var (
	noRemoteFile = regexp.MustCompile(`failed to read dockerfile: open (\S+): no such file`)
	noRef        = regexp.MustCompile(`repository does not contain ref (\S+?),`)
	saidByGit    = regexp.MustCompile(`(?s)git stderr:(.*?): exit status \d+`) // lines
	httpStatus   = regexp.MustCompile(`failed to (?:resolve httpcontext|read downloaded context).*invalid response status (\d+)`)
)

// contextReason says in one sentence why a context could not be read, and what
// to do; "" for what is not about one.
func contextReason(text string) (message, hint string) {
	if m := noRemoteFile.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("there is no Dockerfile at %s in the context", m[1]), "with an address or an archive as context, file is a path in it"
	}
	if m := noRef.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("the git repository has no branch, tag or commit %s", m[1]), "a commit must be named whole"
	}
	if m := httpStatus.FindStringSubmatch(text); m != nil {
		return "the context's address answers with status " + m[1], "check the address, and whether it wants a login"
	}
	if strings.Contains(text, "unknown scheme git") {
		return "the builder cannot read git repositories: it has no git", "install git where it runs, or check the sources out and give their directory"
	}
	if m := saidByGit.FindStringSubmatch(text); m != nil {
		said := strings.Join(strings.Fields(m[1]), " ")
		return "the git repository cannot be read: " + said, gitHint(said)
	}
	return "", ""
}

func gitHint(said string) string {
	for _, known := range []struct{ word, hint string }{
		{"could not read Username", "it wants a login: give github-token, or a secret GIT_AUTH_TOKEN.HOST"},
		{"Authentication failed", "its login was refused: check github-token, or the password in the address"},
		{"error: 403", "its login may not read it: check what github-token has the right to"},
		{"not found", "check the address; a private repository answers so without a login"},
		{"Permission denied (publickey", "it wants another key: check the input ssh"},
		{"Host key verification failed", "its host key is not the one that was found before"},
		{"Could not resolve host", "check its name, and the proxy inputs"},
		{"Connection refused", "check that it runs, and its port"},
		{"SSL certificate problem", "give the authority's certificate with ca-bundle"},
		{"certificate verification failed", "give the authority's certificate with ca-bundle"},
	} {
		if strings.Contains(said, known.word) {
			return known.hint
		}
	}
	return ""
}
