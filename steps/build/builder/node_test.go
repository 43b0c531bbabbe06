package builder

import (
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"

	"github.com/imagewright/imagewright/internal/fault"
)

func TestLinesOfTheInput(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lines []string
		want  []string // kind, address and platforms
	}{
		{"nothing", nil, []string{"auto auto"}},
		{"a word", []string{" embedded "}, []string{"embedded embedded"}},
		{"a container", []string{"docker-container://buildx_buildkit_ci0"}, []string{"docker-container docker-container://buildx_buildkit_ci0"}},
		{"an address", []string{"tcp://buildkitd:1234"}, []string{"remote tcp://buildkitd:1234"}},
		{"equals signs in the query alone", []string{"kube-pod://pod?namespace=ci"}, []string{"remote kube-pod://pod?namespace=ci"}},
		{"platforms and a query", []string{"linux/arm64=kube-pod://pod?namespace=ci"}, []string{"remote kube-pod://pod?namespace=ci linux/arm64"}},
		{"several", []string{"linux/amd64, linux/386=tcp://a:1", "linux/arm64/v8 = ssh://b", "linux/arm/v7=embedded"},
			[]string{"remote tcp://a:1 linux/amd64 linux/386", "remote ssh://b linux/arm64", "embedded embedded linux/arm/v7"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nodes, err := Parse(tc.lines)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range nodes {
				line := string(n.Kind) + " " + n.String()
				for _, p := range n.Platforms {
					line += " " + platforms.FormatAll(p)
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", tc.lines, diff)
			}
		})
	}
}

func TestBadLinesSayWhatToWrite(t *testing.T) {
	for _, tc := range []struct {
		name, lines, want, hint string
	}{
		{"an instance of buildx", "builder-5cb467f7-0940", "buildx instance", "docker-container://buildx_buildkit_builder-5cb467f7-09400 for"},
		{"buildx's default", "default", "buildx's name", "write docker;"},
		{"a misspelt word", "docker-privilege", "no address", "docker-privileged"},
		{"nonsense", "a b", `"a b" is no address`, "accepted are auto, embedded"},
		{"an unknown scheme", "podman-container://x", "scheme podman-container is not known", "accepted are auto, embedded"},
		{"a container that cannot be", "docker-container://-x", "no container has such a name", "docker ps"},
		{"a builder without platforms among several", "tcp://a:1\nlinux/arm64=tcp://b:1", "tcp://a:1 has none", "linux/amd64=tcp://a:1"},
		{"a platform twice", "linux/arm64=tcp://a:1\nlinux/arm64/v8=tcp://b:1", "two builders are for linux/arm64", "once"},
		{"no platform", "arm64=tcp://a:1", `"arm64" is no platform`, "OS/ARCH"},
		{"no address", "linux/arm64=", `"" is no address`, "accepted are"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse(strings.Split(tc.lines, "\n"))
			if err == nil {
				t.Fatalf("%q is accepted", tc.lines)
			}
			if fault.Code(err) != fault.ExitUsage || !strings.HasPrefix(err.Error(), "input builder: ") || !strings.Contains(err.Error(), tc.want) || !strings.Contains(fault.Hint(err), tc.hint) {
				t.Errorf("exit %d, %q, hint %q; want exit 2, %q and %q", fault.Code(err), err, fault.Hint(err), tc.want, tc.hint)
			}
		})
	}
}

func TestNoPasswordOfABuilderIsPrinted(t *testing.T) {
	_, err := Parse([]string{"linux/amd64=tcp://me:hunter2@builder:1234"})
	if err == nil || strings.Contains(err.Error()+fault.Hint(err), "hunter2") {
		t.Errorf("the error is %v", err)
	}
}
