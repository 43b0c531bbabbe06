package docker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/moby/moby/client"
)

// maxMountinfo bounds what is read of a process's mounts, in bytes.
const maxMountinfo = 1 << 20

var containerID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ownImage returns the id of the image that this process's container was made
// from, on this engine.
func (e *Engine) ownImage(ctx context.Context) (string, error) {
	ids, err := ownContainers("/proc/self")
	if err != nil {
		return "", err
	}
	// An engine calls a container after its id, unless it was given another name
	// or has the host's; of that an engine knows nothing.
	if host, err := os.Hostname(); err == nil && containerName.MatchString(host) {
		ids = append(ids, host)
	}
	for _, id := range ids {
		found, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if errdefs.IsNotFound(err) {
			continue // another engine's: this is Docker in Docker
		}
		if err != nil {
			return "", err
		}
		// A container may be called as this host is.
		if strings.HasPrefix(found.Container.ID, id) {
			return found.Container.Image, nil
		}
	}
	return "", fault.Failed(errors.New("this process runs in no container of that engine, so it has no image to start a builder from"),
		"set builder-image to an image of imagewright-build")
}

// ownContainers returns the ids of the containers that the process, whose
// directory in /proc is given, may run in; the likeliest first.
func ownContainers(proc string) ([]string, error) {
	var ids []string
	add := func(id string) {
		if containerID.MatchString(id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	// With cgroups of version 1, or the host's, the path ends with …/ID or
	// …/docker-ID.scope.
	err := eachLine(proc+"/cgroup", func(line string) {
		name := line[strings.LastIndexByte(line, '/')+1:]
		add(strings.TrimSuffix(strings.TrimPrefix(name, "docker-"), ".scope"))
	})
	if err != nil {
		return nil, err
	}
	// An engine mounts these files from a directory that is called after the
	// container, or after the one whose network it shares: …/containers/ID/hosts.
	// man 5 proc_pid_mountinfo: the fourth field is the file, the fifth the place.
	err = eachLine(proc+"/mountinfo", func(line string) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !slices.Contains([]string{"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}, fields[4]) {
			return
		}
		if _, rest, ok := strings.Cut(fields[3], "/containers/"); ok {
			id, _, _ := strings.Cut(rest, "/")
			add(id)
		}
	})
	return ids, err
}

func eachLine(file string, do func(line string)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxMountinfo))
	lines.Buffer(nil, maxMountinfo)
	for lines.Scan() {
		do(lines.Text())
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
