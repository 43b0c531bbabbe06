package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/imagewright/imagewright/internal/ci"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

const (
	// upTimeout is for the engine to make or start a container.
	upTimeout = time.Minute
	// startGrace is how long another build may take from making a builder to
	// starting it. A build that was killed in between never will.
	startGrace = 10 * time.Second
	upPoll     = 50 * time.Millisecond
	// logLines is how much of a builder's log goes into an error.
	logLines = "10"
	maxLog   = 1 << 20 // bytes of those lines that are read
)

var errNotOurs = errors.New("another container has this name, which no build of ours made")

// up returns the id of the builder's container, which runs; fresh when it was
// made here. Builds at the same time agree on one: the engine gives a name once.
func (b *builder) up(ctx context.Context) (id string, fresh bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, upTimeout, fmt.Errorf("it does not run after %s", upTimeout))
	defer cancel()
	var unstarted time.Time
	for {
		found, err := b.engine.api.ContainerInspect(ctx, b.name, client.ContainerInspectOptions{})
		switch {
		case errdefs.IsNotFound(err):
			id, err = b.create(ctx)
			if errdefs.IsConflict(err) {
				break // another build was faster: use its
			}
			return id, true, err
		case err != nil:
			return "", false, err
		case found.Container.Config == nil || found.Container.Config.Labels[builderLabel] != b.key:
			return "", false, errNotOurs
		}
		id = found.Container.ID
		switch state := stateOf(found.Container); state {
		case container.StateRunning:
			return id, false, nil
		case container.StateExited:
			b.engine.log.Info("starting the builder again", "container", b.name)
			_, err := b.engine.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
			return id, false, err
		case container.StateCreated:
			if unstarted.IsZero() {
				unstarted = time.Now()
			}
			if time.Since(unstarted) < startGrace {
				break
			}
			if err := b.remove(ctx, id); err != nil {
				return "", false, err
			}
		case container.StateDead:
			if err := b.remove(ctx, id); err != nil {
				return "", false, err
			}
		}
		select {
		case <-ctx.Done():
			return "", false, context.Cause(ctx)
		case <-time.After(upPoll):
		}
	}
}

func stateOf(c container.InspectResponse) container.ContainerState {
	if c.State == nil {
		return ""
	}
	return c.State.Status
}

// create makes and starts the container.
func (b *builder) create(ctx context.Context) (string, error) {
	api, labels := b.engine.api, map[string]string{builderLabel: b.key}
	// Which rights a build gets, its own input allow decides; nobody else is served.
	command := append([]string{"serve", "--addr=" + builderSocket, "--state-dir=" + builderState, "--allow=network.host,security.insecure,device"}, b.options.Arguments...)
	if b.ca != nil {
		command = append(command, "--ca-bundle="+builderCA)
	}
	created, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: b.name,
		Config: &container.Config{
			Image: b.image, Entrypoint: []string{b.program}, Cmd: command, Env: b.options.Environ,
			User: "0:0", WorkingDir: "/", Labels: labels,
		},
		HostConfig: &container.HostConfig{
			Privileged:  true,
			UsernsMode:  "host", // where the engine maps users, privileged containers must not be
			NetworkMode: container.NetworkMode(b.options.Network),
			Tmpfs:       map[string]string{"/run": ""}, // sockets of a run before are not there
			Mounts: []mount.Mount{{
				Type: mount.TypeVolume, Source: b.name, Target: builderState,
				VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: labels},
			}},
		},
	})
	if err != nil {
		return "", err
	}
	b.engine.log.Info("starting a builder in a privileged container; it stays for the next build", "container", b.name, "image", b.image)
	if err := b.start(ctx, created.ID); err != nil {
		return "", errors.Join(err, b.remove(context.WithoutCancel(ctx), created.ID))
	}
	return created.ID, nil
}

// start starts the container that was just made, with its authorities in it.
func (b *builder) start(ctx context.Context, id string) error {
	if b.ca != nil {
		content, err := archive(builderCA, b.ca)
		if err != nil {
			return err
		}
		if _, err := b.engine.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: content}); err != nil {
			return err
		}
	}
	_, err := b.engine.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return err
}

// remove removes the container, by id or name; the volume stays.
func (b *builder) remove(ctx context.Context, id string) error {
	_, err := b.engine.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// log returns the end of what the container said, fit for an error.
func (b *builder) log(ctx context.Context, id string) string {
	lines, err := b.engine.api.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: logLines})
	if err != nil {
		return ""
	}
	defer lines.Close()
	var said bytes.Buffer
	// What could be read is better than nothing.
	_, _ = stdcopy.StdCopy(&said, &said, io.LimitReader(lines, maxLog))
	text := strings.TrimSpace(said.String())
	return ci.Printable(text[max(0, len(text)-saidBytes):])
}

// archive is a tar of one file and the directories above it.
func archive(path string, content []byte) (io.Reader, error) {
	var out bytes.Buffer
	to := tar.NewWriter(&out)
	path = strings.TrimPrefix(path, "/")
	for i, parts := 1, strings.Split(path, "/"); i < len(parts); i++ {
		dir := strings.Join(parts[:i], "/") + "/"
		if err := to.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	if err := to.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	_, err := to.Write(content)
	return &out, errors.Join(err, to.Close())
}
