package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/imagewright/imagewright/internal/fault"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func parsedDockerfile(t *testing.T, text string) dockerfile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "Dockerfile")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := readDockerfile(path, "Dockerfile", "")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBasesAreTheImagesThatTheTargetNeeds(t *testing.T) {
	amd, arm := platforms.MustParse("linux/amd64"), platforms.MustParse("linux/arm64")
	pin := "@sha256:" + strings.Repeat("a", 64)
	for _, tc := range []struct {
		name, dockerfile string
		query            baseQuery
		want             []string
	}{
		{"tag and registry are filled in", "FROM golang\n", baseQuery{}, []string{"1 docker.io/library/golang:latest linux/amd64"}},
		{"a digest stays", "FROM golang:1.26" + pin + "\n", baseQuery{}, []string{"1 docker.io/library/golang:1.26" + pin + " linux/amd64"}},
		{"scratch is no image", "FROM scratch\n", baseQuery{}, nil},
		{"an earlier stage is no image", "FROM a AS one\nFROM ONE\n", baseQuery{}, []string{"1 docker.io/library/a:latest linux/amd64"}},
		{"a later stage's name is an image before it", "FROM two AS one\nFROM one AS two\n", baseQuery{}, []string{"1 docker.io/library/two:latest linux/amd64"}},
		{"what the target does not reach is left out", "FROM a AS one\nFROM b AS two\nFROM c\n", baseQuery{Target: "two"}, []string{"2 docker.io/library/b:latest linux/amd64"}},
		{"COPY and mounts count", "FROM a AS one\nFROM scratch\nCOPY --from=b /x /x\nCOPY --from=0 /y /y\nRUN --mount=type=bind,from=c true\n", baseQuery{},
			[]string{"1 docker.io/library/a:latest linux/amd64", "3 docker.io/library/b:latest linux/amd64", "5 docker.io/library/c:latest linux/amd64"}},
		{"arguments are filled in", "ARG V=1\nARG W=${V}.2\nFROM a:$W\n", baseQuery{}, []string{"3 docker.io/library/a:1.2 linux/amd64"}},
		{"build arguments win", "ARG V=1\nFROM a:$V\n", baseQuery{Args: map[string]string{"V": "9"}}, []string{"2 docker.io/library/a:9 linux/amd64"}},
		{"a named context takes an image's place", "FROM a:1 AS x\nFROM b\n", baseQuery{Contexts: []namedContext{{Name: "b", Dir: "/x"}}}, nil},
		{"and a stage's", "FROM a AS one\nFROM one\n", baseQuery{Contexts: []namedContext{{Name: "one", Dir: "/x"}}}, nil},
		{"a named context that is another image", "FROM a\n", baseQuery{Contexts: []namedContext{{Name: "a", Image: "b:2"}}}, []string{"1 docker.io/library/b:2 linux/amd64"}},
		{"the builder's platform", "FROM --platform=$BUILDPLATFORM a AS x\nFROM b\nCOPY --from=x / /\n", baseQuery{Wanted: []ocispecs.Platform{amd, arm}},
			[]string{"1 docker.io/library/a:latest linux/amd64", "2 docker.io/library/b:latest linux/amd64", "2 docker.io/library/b:latest linux/arm64"}},
		{"an image for each platform", "FROM base-$TARGETARCH\n", baseQuery{Wanted: []ocispecs.Platform{amd, arm}},
			[]string{"1 docker.io/library/base-amd64:latest linux/amd64", "1 docker.io/library/base-arm64:latest linux/arm64"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.query.Builder = amd
			if tc.query.Wanted == nil {
				tc.query.Wanted = []ocispecs.Platform{amd}
			}
			found, err := parsedDockerfile(t, tc.dockerfile).bases(tc.query)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, b := range found {
				got = append(got, fmt.Sprintf("%d %s %s", b.Line, b.Name, platforms.Format(b.Platform)))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("bases of\n%s(-want +got):\n%s", tc.dockerfile, diff)
			}
		})
	}
}

func TestFloatingBasesAreRefusedWithTheirLine(t *testing.T) {
	d := parsedDockerfile(t, "FROM a@sha256:"+strings.Repeat("a", 64)+" AS x\nFROM b:1\nCOPY --from=x / /\n")
	needed, err := d.bases(baseQuery{Wanted: []ocispecs.Platform{platforms.DefaultSpec()}, Builder: platforms.DefaultSpec()})
	if err != nil {
		t.Fatal(err)
	}
	err = refuseFloating(d, needed)
	if fault.Code(err) != fault.ExitRefused {
		t.Errorf("exit code is %d, want %d: the policy said no", fault.Code(err), fault.ExitRefused)
	}
	if got, want := fmt.Sprint(err), "Dockerfile:2: base image b:1 is not named by its digest"; got != want {
		t.Errorf("error is %q, want %q", got, want)
	}
}
