package docker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/test/dockerd"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

func TestBuildersInContainers(t *testing.T) {
	d := dockerd.Start(t)
	importBuilder(t, d)
	for name, test := range map[string]func(*testing.T, *dockerd.Engine){
		"a buildkitd in a container is built with":                     aBuildkitdInAContainerIsBuiltWith,
		"a container that is no builder is said to be none":            aContainerThatIsNoBuilderIsSaidToBeNone,
		"a privileged builder is started, reused and removed":          aPrivilegedBuilderIsStartedReusedAndRemoved,
		"builds at the same time share a privileged builder":           buildsAtTheSameTimeShareAPrivilegedBuilder,
		"a builder that cannot start says why, and is not left behind": aBuilderThatCannotStartSaysWhyAndIsNotLeftBehind,
	} {
		t.Run(name, func(t *testing.T) { test(t, d) })
	}
}

func aBuildkitdInAContainerIsBuiltWith(t *testing.T, d *dockerd.Engine) {
	run(t, d, "buildkitd", "buildkitd", "--oci-worker-net=host", "--containerd-worker=false")
	e := connect(t, d)

	t.Run("many builds share a connection", func(t *testing.T) {
		c, err := e.Container(t.Context(), "buildkitd")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var builds sync.WaitGroup
		for range 3 {
			builds.Go(func() { buildsARUN(t, c) })
		}
		builds.Wait()
	})
	t.Run("closing ends what was run in it", func(t *testing.T) {
		c, err := e.Container(t.Context(), "buildkitd")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			running := processes(t, d, "buildkitd", "dial-stdio")
			if running == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d processes of buildctl dial-stdio still run", running)
			}
		}
	})
}

func aContainerThatIsNoBuilderIsSaidToBeNone(t *testing.T, d *dockerd.Engine) {
	d.Import(t, "plain", nil)
	run(t, d, "plain", "/bin/busybox", "sleep", "1000")
	run(t, d, "stopped", "/bin/busybox", "true")
	if result := <-d.API.ContainerWait(t.Context(), "stopped", client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning}).Result; result.StatusCode != 0 {
		t.Fatalf("the container ended with %d", result.StatusCode)
	}
	e := connect(t, d)
	for _, tc := range []struct {
		container, want, hint string
		code                  int
	}{
		{"../plain", "no container has such a name", "docker-container://NAME", fault.ExitUsage},
		{"", "no container has such a name", "docker-container://NAME", fault.ExitUsage},
		{"missing", "has no such container", "docker ps", fault.ExitFailed},
		{"stopped", "does not run", "docker start stopped", fault.ExitFailed},
		{"plain", `"buildctl": executable file not found`, "buildctl", fault.ExitFailed},
	} {
		t.Run(tc.container, func(t *testing.T) {
			c, err := e.Container(t.Context(), tc.container)
			if err == nil {
				t.Fatal(errors.Join(errors.New("it was taken for a builder"), c.Close()))
			}
			if !strings.Contains(err.Error(), tc.want) || fault.Code(err) != tc.code || !strings.Contains(fault.Hint(err), tc.hint) {
				t.Errorf("Container(%q) = %v (exit %d, hint %q); want %q, exit %d, %q", tc.container, err, fault.Code(err), fault.Hint(err), tc.want, tc.code, tc.hint)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has more than one line: %q", err)
			}
		})
	}
}

// run starts a privileged container of that name, of image builder or, where the
// program is busybox, plain.
func run(t *testing.T, d *dockerd.Engine, name, program string, args ...string) {
	t.Helper()
	image := "builder"
	if strings.HasSuffix(program, "busybox") {
		image = "plain"
	}
	created, err := d.API.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name:   name,
		Config: &container.Config{Image: image, Entrypoint: []string{program}, Cmd: args},
		HostConfig: &container.HostConfig{
			Privileged: true, NetworkMode: "host", Tmpfs: map[string]string{"/run": "", "/var/lib/buildkit": ""},
		},
	})
	if err == nil {
		// At once, where stopping the engine would ask it to go first.
		t.Cleanup(func() {
			_, _ = d.API.ContainerRemove(context.Background(), created.ID, client.ContainerRemoveOptions{Force: true})
		})
		_, err = d.API.ContainerStart(t.Context(), created.ID, client.ContainerStartOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// processes counts those in a container whose command has word in it.
func processes(t *testing.T, d *dockerd.Engine, name, word string) (count int) {
	t.Helper()
	top, err := d.API.ContainerTop(t.Context(), name, client.ContainerTopOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range top.Processes {
		if strings.Contains(strings.Join(process, " "), word) {
			count++
		}
	}
	return count
}
