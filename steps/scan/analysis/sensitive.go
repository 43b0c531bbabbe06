package analysis

import (
	"bytes"
	"context"
	"path"
	"slices"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/imagewright/imagewright/internal/image"
)

// SensitiveKind is what makes a file one that does not belong into an image.
type SensitiveKind string

// The kinds of sensitive files. Trivy looks at what files contain; these are
// known by their names, and by a word in them where a name alone says too
// little.
const (
	PrivateKey        SensitiveKind = "private-key"        // of ssh, PKCS #12 or PuTTY
	DotEnv            SensitiveKind = "dotenv"             // .env, and .env.production
	GitDirectory      SensitiveKind = "git-directory"      // the history of the source
	AWSCredentials    SensitiveKind = "aws-credentials"    // .aws/credentials
	NpmToken          SensitiveKind = "npm-token"          // an .npmrc that logs in
	DockerCredentials SensitiveKind = "docker-credentials" // a config.json that logs in
	Netrc             SensitiveKind = "netrc"
	PyPICredentials   SensitiveKind = "pypi-credentials"
	KubeConfig        SensitiveKind = "kubeconfig"
)

// SensitiveFile is a file that does not belong into an image, whatever is in it.
type SensitiveFile struct {
	Path string        `json:"path"` // of a GitDirectory, that of the directory
	Kind SensitiveKind `json:"kind"`

	// Filled by Merge.
	Layer     ftypes.Layer `json:"layer,omitzero"`
	RemovedBy int          `json:"removedBy,omitempty"` // see Removed
}

const nameSensitive = "sensitive"

// maxSensitive bounds a file that is searched for a word, bytes.
const maxSensitive = 1 << 20

// sensitive notes the file if its name says enough, and returns who looks into
// it where that decides.
func (l *layer) sensitive(e image.Entry) []analyzer {
	kind, p, words := sensitiveFile(e.Path)
	switch {
	case kind == "" || e.Size == 0:
	case words == nil:
		l.noteSensitive(p, kind)
	case e.Size <= maxSensitive:
		return []analyzer{{nameSensitive, maxSensitive, func(_ context.Context, _ string, c *content) error {
			data, err := c.bytes()
			if slices.ContainsFunc(words, func(w string) bool { return bytes.Contains(data, []byte(w)) }) {
				l.noteSensitive(p, kind)
			}
			return err
		}}}
	}
	return nil
}

// noteSensitive notes a file once: a tar may carry it twice, and a repository has
// many files.
func (l *layer) noteSensitive(p string, kind SensitiveKind) {
	f := SensitiveFile{Path: p, Kind: kind}
	if !l.noted[f] {
		l.noted[f] = true
		l.result.Sensitive = append(l.result.Sensitive, f)
	}
}

// sensitiveFile returns what the file at p is by its name, the path to call it
// by, and the words of which one must be in it; nil is any content.
func sensitiveFile(p string) (kind SensitiveKind, named string, words []string) {
	dir, base := path.Split(p)
	parent := path.Base(dir)
	switch {
	case parent == ".git" && base == "HEAD":
		return GitDirectory, path.Clean(dir), nil
	case parent == ".aws" && base == "credentials":
		return AWSCredentials, p, nil
	case parent == ".kube" && base == "config":
		return KubeConfig, p, nil
	case parent == ".docker" && base == "config.json":
		return DockerCredentials, p, []string{`"auth"`, `"identitytoken"`}
	case base == ".npmrc":
		return NpmToken, p, []string{"_authToken", "_auth", "_password"}
	case base == ".netrc":
		return Netrc, p, []string{"password"}
	case base == ".pypirc":
		return PyPICredentials, p, []string{"password"}
	case privateKeyName(base):
		return PrivateKey, p, nil
	case dotEnvName(base) && !ofPackage(p):
		return DotEnv, p, nil
	}
	return "", "", nil
}

func privateKeyName(base string) bool {
	switch base {
	case "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk":
		return true
	}
	switch path.Ext(base) {
	case ".p12", ".pfx", ".ppk":
		return true
	}
	return false
}

// dotEnvName leaves out the examples that projects publish.
func dotEnvName(base string) bool {
	for _, example := range []string{"example", "sample", "template", "dist", "defaults", "schema"} {
		if strings.Contains(base, example) {
			return false
		}
	}
	return base == ".env" || strings.HasPrefix(base, ".env.") || path.Ext(base) == ".env"
}

// ofPackage tells files that came with a published package, which its authors
// put there for everybody.
func ofPackage(p string) bool {
	for name := range strings.SplitSeq(path.Dir(p), "/") {
		switch name {
		case "node_modules", "site-packages", "dist-packages", "gems", "vendor":
			return true
		}
	}
	return false
}
