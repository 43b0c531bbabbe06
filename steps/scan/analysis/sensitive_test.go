package analysis

import (
	"fmt"
	"testing"
	"time"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
)

func TestSensitiveFilesAreKnownByTheirNames(t *testing.T) {
	for p, want := range map[string]SensitiveKind{
		"app/.env":                             DotEnv,
		"app/.env.production":                  DotEnv,
		"app/prod.env":                         DotEnv,
		"app/.env.example":                     "",
		"app/.env.template":                    "",
		"app/node_modules/x/.env":              "",
		"app/environment":                      "",
		"app/.git/HEAD":                        GitDirectory,
		"app/.git/config":                      "", // the directory is named once
		"app/.gitignore":                       "",
		"root/.aws/credentials":                AWSCredentials,
		"root/.aws/config":                     "",
		"aws/credentials":                      "",
		"root/.ssh/id_rsa":                     PrivateKey,
		"root/.ssh/id_rsa.pub":                 "",
		"etc/ssl/server.pfx":                   PrivateKey,
		"etc/ssl/certs/ca-certificates.crt":    "",
		"root/.npmrc":                          NpmToken,
		"root/.docker/config.json":             DockerCredentials,
		"app/config.json":                      "",
		"root/.netrc":                          Netrc,
		"root/.pypirc":                         PyPICredentials,
		"root/.kube/config":                    KubeConfig,
		"usr/lib/python3/site-packages/a/.env": "",
	} {
		if got, _, _ := sensitiveFile(p); got != want {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
}

func TestAWordDecidesWhereANameSaysTooLittle(t *testing.T) {
	r := analysed(t, Options{},
		file{path: "home/a/.npmrc", content: "registry=https://registry.npmjs.org/\n"},
		file{path: "home/b/.npmrc", content: "//registry.npmjs.org/:_authToken=npm_xxxx\n"},
		file{path: "home/a/.docker/config.json", content: `{"credsStore": "secretservice"}`},
		file{path: "home/b/.docker/config.json", content: `{"auths": {"r.example": {"auth": "YTpi"}}}`},
		file{path: "app/.git/HEAD", content: "ref: refs/heads/main\n"},
		file{path: "app/.env"},
	)
	want := []SensitiveFile{
		{Path: "home/b/.npmrc", Kind: NpmToken},
		{Path: "home/b/.docker/config.json", Kind: DockerCredentials},
		{Path: "app/.git", Kind: GitDirectory},
	}
	if diff := cmp.Diff(want, r.Sensitive); diff != "" {
		t.Errorf("sensitive files (-want +got):\n%s", diff)
	}
}

func TestWhatALaterLayerRemovesIsSaidToBeRemoved(t *testing.T) {
	for _, tc := range []struct {
		name  string
		later []file
		want  int
	}{
		{"deleted", []file{{path: "app/.wh..env"}}, 2},
		{"its folder deleted", []file{{path: ".wh.app"}}, 2},
		{"its folder emptied", []file{{path: "app/.wh..wh..opq"}}, 2},
		{"everything emptied", []file{{path: ".wh..wh..opq"}}, 2},
		{"replaced", []file{{path: "app/.env", content: "x"}}, 2},
		{"replaced by a link", []file{{path: "app/.env", link: "/x"}}, 2},
		{"something else deleted", []file{{path: "app/.wh..env2"}}, 0},
		{"another folder deleted", []file{{path: ".wh.ap"}}, 0},
		{"its folder there once more", []file{{path: "app/"}}, 0},
		{"files beside it", []file{{path: "app/x"}, {path: "ap"}}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			layers := []*Result{{}, analysed(t, Options{}, tc.later...)}
			if got := removedBy(deletions(layers), 0, "app/.env"); got != tc.want {
				t.Errorf("removed by layer %d, want %d", got, tc.want)
			}
		})
	}
}

// Made for a scanner that compares each file with each deletion.
func TestManySensitiveFilesAndDeletionsAreNoWork(t *testing.T) {
	const many = 200_000
	l, above := newLayer(t.Context(), Options{}), &Result{}
	for i := range many {
		l.noteSensitive(fmt.Sprintf("app/%d/.env", i), DotEnv)
		above.Whiteouts = append(above.Whiteouts, fmt.Sprintf("srv/%d", i))
		above.OpaqueDirs = append(above.OpaqueDirs, fmt.Sprintf("var/%d", i))
	}
	d := &Detail{Layers: make(ftypes.Layers, 2)}
	start := time.Now()
	d.finishSensitive([]*Result{&l.result, above})
	if took := time.Since(start); len(d.Sensitive) != many || took > 20*time.Second {
		t.Errorf("%d of %d files after %v", len(d.Sensitive), many, took)
	}
}
