package differential

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A few secrets that nobody has. They are put together here, because whole they
// would be taken for real ones by whoever scans this file.
func githubToken() string { return "ghp" + "_012345678901234567890123456789abcdef" }
func awsKey() string      { return "AKIA" + "Q6FAA4NSLPZXVBT7" }
func awsSecret() string   { return "tkV6vIjg7XzD4s/fzC9gv" + "+QW3cCUvs6Yh5mJMM2K" }

func pemKey() string {
	body := strings.Repeat("MIIEpAIBAAKCAQEAx4UbaDzY5xjW6hc9jwN0mX33XpTDVW7WqLjJZd3VqP1lNqOG\n", 12)
	return "-----BEGIN RSA PRIVATE" + " KEY-----\n" + body + "-----END RSA PRIVATE" + " KEY-----\n"
}

func secretFixtures(src sources) []fixture {
	files := filepath.Join(src.trivy, "pkg", "fanal", "secret", "testdata")
	repo := filepath.Join(src.trivy, "integration", "testdata", "fixtures", "repo", "secrets")
	env := "GITHUB_TOKEN=" + githubToken() + "\naws_access_key_id=" + awsKey() + "\naws_secret_access_key = \"" + awsSecret() + "\"\n"
	padding := func(n int) string { return strings.Repeat("a line that says nothing at all\n", n) }
	return []fixture{
		{name: "secrets-trivys", quick: true, layers: func(t *testing.T) []*layer {
			return []*layer{run("COPY secrets /").tree(t, "srv/secrets", files), run("COPY repo /").tree(t, "srv/repo", repo).tree(t, "srv/analyzer", src.analyzer("secret"))}
		}},
		{name: "secrets-layers", quick: true, archive: true, layers: func(*testing.T) []*layer {
			return []*layer{
				run("COPY one").text("srv/.env", env).text("srv/id_rsa", pemKey()).text("srv/deleted.txt", "token: "+githubToken()+"\n"),
				run("RUN rm").remove("srv/deleted.txt").text("srv/.env", padding(3)+env),
				run("COPY two").text("srv/.env", "nothing any more, nothing at all\n").text("srv/config.js", `const t = "`+githubToken()+`";`),
				run("RUN opaque").opaque("srv").text("srv/new.txt", env+env),
			}
		}},
		{name: "secrets-places", layers: func(*testing.T) []*layer {
			l := run("COPY all")
			for _, place := range []string{
				"root/.aws/credentials", "home/app/.npmrc", "srv/.git/config", "srv/README.md", "srv/vendor/x.go", "srv/node_modules/a/index.js", "srv/package-lock.json", "srv/yarn.lock",
				"usr/share/doc/x/readme.txt", "usr/lib/gcc/x.h", "usr/src/a.c", "usr/local/go/src/a.go", "usr/share/man/man1/a.1", "srv/a.png", "srv/a.exe", "srv/test/a_test.go", "srv/example.yaml",
				"var/lib/dpkg/info/a.list", "etc/app.conf", "proc/1/environ", "srv/locale/de.po", "usr/local/lib/python3.8/site-packages/a.py", "opt/yarn-v1.22/x.js", "srv/no-extension", "srv/short",
			} {
				l.text(place, env)
			}
			return []*layer{l.text("srv/short", "k=1\n").text("srv/crlf.txt", strings.ReplaceAll(env, "\n", "\r\n")).text("srv/nul.txt", "\x00"+env).text("srv/late-nul.txt", padding(20)+"\x00"+env).
				text("srv/latin1.txt", "caf\xe9 "+env).text("srv/kelvin.txt", "a\u212aey "+env).text("srv/a.pyc", "\x00\x01\x02"+env+"\x00")}
		}},
		// Trivy reads files in pieces of 64 KiB; what lies on an edge counts too.
		{name: "secrets-edges", layers: func(*testing.T) []*layer {
			l := run("COPY big")
			for _, at := range []int{0, 4000, 4096, 4200, 61000, 61440, 65400, 65480, 65500, 65520, 65530, 65536, 65600, 126900, 131072} {
				filler := padding(at/32 + 1)[:at]
				l.text(fmt.Sprintf("srv/%d.txt", at), filler+"\n"+env+pemKey()+padding(10)).
					text(fmt.Sprintf("srv/one-line-%d.txt", at), strings.Repeat("x", at)+" "+githubToken()+" "+strings.Repeat("y", 100))
			}
			return []*layer{l}
		}},
		{name: "secrets-large", layers: func(*testing.T) []*layer {
			var b strings.Builder
			for i := range 40_000 {
				fmt.Fprintf(&b, "key%d = value of a key, sk_%d lob pk. sv=%d ek_\n", i, i*7919, i)
				if i%9_973 == 0 {
					b.WriteString(env)
				}
			}
			return []*layer{run("COPY").text("srv/large.txt", b.String()).text("srv/large.min.js", strings.ReplaceAll(b.String(), "\n", ";"))}
		}},
		{name: "secrets-base-image", layers: func(*testing.T) []*layer {
			return []*layer{
				run("ADD base /").text("srv/base.env", env),
				run("/bin/sh -c #(nop)  CMD [\"/bin/sh\"]"),
				run("COPY mine /").text("srv/mine.env", env),
				run("/bin/sh -c #(nop)  ENTRYPOINT [\"/app\"]"),
			}
		}},
		{name: "secrets-config", config: func(c *v1.Config) {
			c.Env = []string{"PATH=/bin", "GITHUB_TOKEN=" + githubToken()}
			c.Labels = map[string]string{"key": awsKey()}
		}, layers: func(*testing.T) []*layer {
			return []*layer{run("RUN curl -H 'Authorization: token "+githubToken()+"'").text("srv/hello.txt", "hello, world\n")}
		}},
		{name: "secrets-debian", base: debian, layers: func(*testing.T) []*layer {
			return []*layer{run("COPY secrets").text("etc/app.env", env).text("root/.ssh/id_rsa", pemKey())}
		}},
		{name: "secrets-own-rules", args: []string{"--secret-config=" + filepath.Join(repo, "trivy-secret.yaml")}, layers: func(t *testing.T) []*layer {
			return []*layer{run("COPY repo /").tree(t, "srv/repo", repo).text("srv/a.env", env)}
		}},
		ruleFixture(),
	}
}

// everyConfig are the configurations of Trivy's own secret tests.
func everyConfig(src sources) []fixture {
	dir := filepath.Join(src.trivy, "pkg", "fanal", "secret", "testdata")
	configs, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil
	}
	configs = slices.DeleteFunc(configs, func(file string) bool { return strings.Contains(file, "sad") })
	var all []fixture
	for _, config := range configs {
		all = append(all, fixture{
			name: "secrets-with-" + strings.TrimSuffix(filepath.Base(config), ".yaml"),
			args: []string{"--secret-config=" + config},
			layers: func(t *testing.T) []*layer {
				return []*layer{run("COPY secrets /").tree(t, "srv/secrets", dir)}
			},
		})
	}
	return all
}
