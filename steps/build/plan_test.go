package build

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/fault"
)

// checkout makes a directory with files, by name and content.
func checkout(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func around(dir string) surroundings {
	return surroundings{
		dir: dir, workspace: filepath.Join(dir, ".imagewright"),
		facts:  facts{Revision: "7a3b5c9"},
		getenv: func(name string) string { return map[string]string{"FROM_ENV": "e"}[name] },
		stdin:  strings.NewReader(""),
		log:    func(string) {},
		warn:   func(string) {},
	}
}

func TestFrontendIsToldWhatTheInputsSay(t *testing.T) {
	dir := checkout(t, map[string]string{"app/deploy.Dockerfile": "FROM scratch AS one\n", "extra/x": ""})
	in := &Inputs{
		What: What{
			Context: "app", File: "app/deploy.Dockerfile", Target: "one",
			BuildArgs:     []string{"A=1,2", "FROM_ENV", "UNSET", "EMPTY=", `"Q=a`, `b"`},
			Labels:        []string{"org.opencontainers.image.revision=mine", "bare"},
			BuildContexts: []string{"context=extra", "alpine:latest=docker-image://alpine:3.22"},
			Platforms:     []string{"linux/" + runtime.GOARCH},
		},
		How: How{NoCache: true, Pull: true, Network: "none"},
	}
	p, err := newPlan(in, around(dir))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"filename":           "deploy.Dockerfile",
		"target":             "one",
		"no-cache":           "",
		"image-resolve-mode": "pull",
		"force-network-mode": "none",
		"build-arg:A":        "1,2",
		"build-arg:FROM_ENV": "e",
		"build-arg:EMPTY":    "",
		"build-arg:Q":        "a\nb",
		"label:org.opencontainers.image.revision": "mine",
		"label:org.opencontainers.image.created":  "1980-01-01T00:00:00Z",
		"label:bare":                              "",
		"context:context":                         "local:named-0",
		"context:alpine":                          "docker-image://alpine:3.22",
	}
	if diff := cmp.Diff(want, p.attrs); diff != "" {
		t.Errorf("frontend attributes (-want +got):\n%s", diff)
	}
	if p.mounts["context"] == nil || p.mounts["dockerfile"] == nil || p.mounts["named-0"] == nil {
		t.Errorf("mounts are %v; want context, dockerfile and named-0", p.mounts)
	}
}

// BuildKit puts the argument into the cache key of every WORKDIR.
func TestDateIsAnArgumentOnlyForDockerfilesThatReadIt(t *testing.T) {
	for text, want := range map[string]string{
		"FROM scratch\nWORKDIR /x\n":            "",
		"FROM scratch\nARG SOURCE_DATE_EPOCH\n": "315532800",
	} {
		p, err := newPlan(&Inputs{What: What{Context: "."}}, around(checkout(t, map[string]string{"Dockerfile": text})))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.attrs["build-arg:SOURCE_DATE_EPOCH"]; got != want {
			t.Errorf("build argument is %q, want %q, for:\n%s", got, want, text)
		}
	}
}

func TestBadInputsAreUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   Inputs
		fork bool
		want string
	}{
		{"missing context", Inputs{What: What{Context: "nowhere"}}, false, "input context: there is no directory"},
		{"context is a file", Inputs{What: What{Context: "Dockerfile"}}, false, "is not a directory"},
		{"missing Dockerfile", Inputs{What: What{Context: "empty"}}, false, "input file: there is no Dockerfile at empty/Dockerfile"},
		{"missing file", Inputs{What: What{Context: ".", File: "other"}}, false, "there is no Dockerfile at other"},
		{"file is a directory", Inputs{What: What{Context: ".", File: "empty"}}, false, "is not a file"},
		{"no such target", Inputs{What: What{Context: ".", Target: "x"}}, false, "input target"},
		{"no platform at all", Inputs{What: What{Context: ".", Platforms: []string{"!"}}}, false, "input platforms"},
		{"argument without name", Inputs{What: What{Context: ".", BuildArgs: []string{"=1"}}}, false, "input build-args"},
		{"secret in an argument", Inputs{What: What{Context: ".", BuildArgs: []string{"TOKEN=x-s3cr3t"}}, Mounts: Mounts{Secrets: "KEY=s3cr3t"}}, false, `TOKEN holds the value of secret "KEY"`},
		{"secret in a label", Inputs{What: What{Context: ".", Labels: []string{"l=s3cr3t"}}, Mounts: Mounts{Secrets: "KEY=s3cr3t"}}, false, `l holds the value of secret "KEY"`},
		{"bad date", Inputs{What: What{Context: ".", BuildArgs: []string{"SOURCE_DATE_EPOCH=soon"}}}, false, "want seconds since 1970"},
		{"bad size", Inputs{What: What{Context: "."}, Builder: Builder{StateMaxSize: "much"}}, false, "input state-max-size"},
		{"named context without value", Inputs{What: What{Context: ".", BuildContexts: []string{"x"}}}, false, "it is not NAME=VALUE"},
		{"named context that is not there", Inputs{What: What{Context: ".", BuildContexts: []string{"x=nowhere"}}}, false, "there is no directory"},
		{"named context of an unknown kind", Inputs{What: What{Context: ".", BuildContexts: []string{"x=ftp://example.org"}}}, false, "ftp:// is not accepted"},
		{"layout that is none", Inputs{What: What{Context: ".", BuildContexts: []string{"x=oci-layout://empty"}}}, false, "no OCI layout"},
		{"named context twice", Inputs{What: What{Context: ".", BuildContexts: []string{"x=empty", "x:latest=empty"}}}, false, "given twice"},
		{"fork reads the runner's files", Inputs{What: What{Context: "out"}}, true, "is outside the checkout"},
		{"value without a name", Inputs{What: What{Context: ".", BuildArgs: []string{"A=1", "=s3cr3t"}}}, false, "input build-args, entry 2: it is not NAME=VALUE"},
		{"fork names the runner's files", Inputs{What: What{Context: ".", BuildContexts: []string{"x=out"}}}, true, "leads out of the checkout"},
		{"fork's link to a file of the runner as a secret", Inputs{What: What{Context: "."}, Mounts: Mounts{SecretFiles: []string{"k=out/hosts"}, AllowForkSecrets: true}}, true, "leads out of the checkout"},
		{"fork reads a Dockerfile of the runner", Inputs{What: What{Context: ".", File: "out/hosts"}}, true, "is outside the checkout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch\n", "empty/x": ""})
			outside := checkout(t, map[string]string{"hosts": "FROM scratch\n", "Dockerfile": "FROM scratch\n"})
			if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
				t.Fatal(err)
			}
			s := around(dir)
			s.fork = tc.fork
			_, err := newPlan(&tc.in, s)
			if fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v (exit code %d), want exit code 2 and %q", err, fault.Code(err), tc.want)
			}
			if text := err.Error() + fault.Hint(err); strings.Contains(text, "s3cr3t") {
				t.Errorf("error shows a secret: %q", text)
			}
		})
	}
}

func TestDockerfileThatIsALink(t *testing.T) {
	for link, want := range map[string]string{
		"../docker/Dockerfile": "docker/Dockerfile", // the engine must see the file itself
		"sub/Dockerfile":       "app/Dockerfile",    // app/Dockerfile.dockerignore counts
	} {
		dir := checkout(t, map[string]string{"docker/Dockerfile": "FROM scratch\n", "app/sub/Dockerfile": "FROM scratch\n"})
		if err := os.Symlink(link, filepath.Join(dir, "app", "Dockerfile")); err != nil {
			t.Fatal(err)
		}
		p, err := newPlan(&Inputs{What: What{Context: "app"}}, around(dir))
		if err != nil {
			t.Fatal(err)
		}
		if got := around(dir).shown(p.dockerfile.Path); got != want || p.dockerfile.Shown != "app/Dockerfile" {
			t.Errorf("link to %s: read from %s, shown as %s; want %s and app/Dockerfile", link, got, p.dockerfile.Shown, want)
		}
	}
}

func TestLocalCacheThatIsNotThereYetIsLeftOut(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch\n"})
	p, err := newPlan(&Inputs{What: What{Context: "."}, Caches: Caches{CacheFrom: []string{"type=local,src=cache"}}}, around(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.cacheFrom) != 0 {
		t.Errorf("cache-from is %v, want none", p.cacheFrom)
	}
	if _, err := os.Stat(filepath.Join(dir, "cache")); err == nil {
		t.Error("the directory to read from was made")
	}
}
