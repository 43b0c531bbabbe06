package docker

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/test/dockerd"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// ours are the options of the builder in the tests, and its container.
func ours(t *testing.T, e *Engine, o PrivilegedOptions) (PrivilegedOptions, *builder) {
	t.Helper()
	o.Image = "builder"
	b, err := e.builder(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // whatever the test did, the next one starts without
		if err := e.RemovePrivileged(context.Background(), o); err != nil {
			t.Error(err)
		}
	})
	return o, b
}

func aPrivilegedBuilderIsStartedReusedAndRemoved(t *testing.T, d *dockerd.Engine) {
	e := connect(t, d)
	var log bytes.Buffer
	e.log = slog.New(slog.NewTextHandler(&log, nil))
	o, b := ours(t, e, PrivilegedOptions{})

	first := mustBeUp(t, e, o)
	buildsARUN(t, first)
	made := inspect(t, d, b.name)
	if made.HostConfig == nil || !made.HostConfig.Privileged || len(made.HostConfig.Binds) > 0 {
		t.Errorf("its container has %+v; want a privileged one that binds nothing of the host's", made.HostConfig)
	}
	for _, m := range made.Mounts {
		if m.Type != "volume" || m.Name != b.name {
			t.Errorf("its container mounts %+v; want its volume alone", m)
		}
	}

	t.Run("the next build has the same", func(t *testing.T) {
		c := mustBeUp(t, e, o)
		buildsARUN(t, c)
		if again := inspect(t, d, b.name); again.ID != made.ID {
			t.Errorf("the container is %s; want the first, %s", again.ID, made.ID)
		}
	})
	t.Run("other options have another", func(t *testing.T) {
		_, other := ours(t, e, PrivilegedOptions{Environ: []string{"HTTPS_PROXY=http://proxy.example:3128"}})
		if other.name == b.name {
			t.Errorf("with another proxy it is %s too", other.name)
		}
	})
	t.Run("one that was stopped is started", func(t *testing.T) {
		wait := 1
		if _, err := d.API.ContainerStop(t.Context(), b.name, client.ContainerStopOptions{Timeout: &wait}); err != nil {
			t.Fatal(err)
		}
		buildsARUN(t, mustBeUp(t, e, o))
		if again := inspect(t, d, b.name); again.ID != made.ID {
			t.Errorf("the container is %s; want the first, %s", again.ID, made.ID)
		}
	})
	t.Run("a broken one is replaced", func(t *testing.T) {
		shell(t, d, b.name, "/bin/busybox rm /usr/bin/imagewright-build")
		buildsARUN(t, mustBeUp(t, e, o))
		if again := inspect(t, d, b.name); again.ID == made.ID {
			t.Error("the broken container is still there")
		}
		if !strings.Contains(log.String(), "removing a builder that does not answer") {
			t.Errorf("nothing is said of it; the log is\n%s", &log)
		}
	})
	t.Run("removing leaves nothing", func(t *testing.T) {
		if err := e.RemovePrivileged(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := e.RemovePrivileged(t.Context(), o); err != nil {
			t.Errorf("a second time: %v", err)
		}
		if _, err := d.API.ContainerInspect(t.Context(), b.name, client.ContainerInspectOptions{}); !errdefs.IsNotFound(err) {
			t.Errorf("its container: %v; want that it is gone", err)
		}
		if _, err := d.API.VolumeInspect(t.Context(), b.name, client.VolumeInspectOptions{}); !errdefs.IsNotFound(err) {
			t.Errorf("its volume: %v; want that it is gone", err)
		}
	})
}

func buildsAtTheSameTimeShareAPrivilegedBuilder(t *testing.T, d *dockerd.Engine) {
	var jobs sync.WaitGroup
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, []byte(authority), 0o600); err != nil {
		t.Fatal(err)
	}
	e := connect(t, d)
	options, b := ours(t, e, PrivilegedOptions{CABundle: bundle})
	for range 3 {
		jobs.Go(func() {
			e, err := Connect(t.Context(), Options{Environ: []string{"DOCKER_HOST=unix://" + d.Socket}})
			if err != nil {
				t.Error(err)
				return
			}
			defer e.Close()
			c, err := e.Privileged(t.Context(), options)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			buildsARUN(t, c)
		})
	}
	jobs.Wait()
	all, err := d.API.ContainerList(t.Context(), client.ContainerListOptions{All: true})
	if err != nil || len(all.Items) != 1 || all.Items[0].ID != inspect(t, d, b.name).ID {
		t.Errorf("the engine has the containers %+v, %v; want one builder", all.Items, err)
	}
}

func aBuilderThatCannotStartSaysWhyAndIsNotLeftBehind(t *testing.T, d *dockerd.Engine) {
	e := connect(t, d)
	o, b := ours(t, e, PrivilegedOptions{Arguments: []string{"--break"}})
	_, err := e.Privileged(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "this builder is broken") || fault.Code(err) != fault.ExitFailed || fault.Hint(err) == "" {
		t.Errorf("Privileged() = %v (exit %d, hint %q); want what the builder said, exit 1 and a hint", err, fault.Code(err), fault.Hint(err))
	}
	if _, err := d.API.ContainerInspect(t.Context(), b.name, client.ContainerInspectOptions{}); !errdefs.IsNotFound(err) {
		t.Errorf("its container: %v; want that it is gone", err)
	}

	t.Run("a container of that name which is another's is left alone", func(t *testing.T) {
		run(t, d, b.name, "/usr/bin/imagewright-build")
		_, err := e.Privileged(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), errNotOurs.Error()) {
			t.Errorf("Privileged() = %v; want that the name is taken", err)
		}
	})
	t.Run("outside a container of the engine there is no image to take", func(t *testing.T) {
		_, err := e.Privileged(t.Context(), PrivilegedOptions{})
		if err == nil || !strings.Contains(fault.Hint(err), "builder-image") {
			t.Errorf("Privileged() = %v, hint %q; want to be told of builder-image", err, fault.Hint(err))
		}
	})
}

func mustBeUp(t *testing.T, e *Engine, o PrivilegedOptions) *bkclient.Client {
	t.Helper()
	c, err := e.Privileged(t.Context(), o)
	if err != nil {
		t.Fatalf("%v; %s", err, fault.Hint(err))
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func inspect(t *testing.T, d *dockerd.Engine, name string) container.InspectResponse {
	t.Helper()
	found, err := d.API.ContainerInspect(t.Context(), name, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found.Container
}

// shell runs a command in a container and waits for its end.
func shell(t *testing.T, d *dockerd.Engine, name, command string) {
	t.Helper()
	created, err := d.API.ExecCreate(t.Context(), name, client.ExecCreateOptions{Cmd: []string{"/bin/sh", "-c", command}, AttachStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	attached, err := d.API.ExecAttach(t.Context(), created.ID, client.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	_, _ = attached.Reader.WriteTo(&bytes.Buffer{}) // until it ends
}
