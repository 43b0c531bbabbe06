package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// daemon is a dockerd of our own: its folders, socket and mounts are seen by
// nobody else, and one that the machine may have is not touched.
type daemon struct {
	socket string
	log    string // file with what it says
	cgroup string // name of the one its containers are below
	cmd    *exec.Cmd
	ended  chan struct{} // closed when its process has ended
}

const (
	// readyTimeout is how long dockerd may take to answer: it takes a second on
	// an idle machine.
	readyTimeout = 60 * time.Second
	// pollEvery is how often we ask until it does.
	pollEvery = 50 * time.Millisecond
	// tailBytes is how much of its log is shown when it does not.
	tailBytes = 4 << 10
)

// inPrivate starts a program with mounts of its own, which end with it. On an
// empty /run dockerd finds no containerd of the machine's and starts its own.
const inPrivate = `mount -t tmpfs -o mode=0755 tmpfs /run && exec "$@"`

// startDaemon starts dockerd in dir and returns when it answers.
func startDaemon(ctx context.Context, dockerd, dir string) (*daemon, error) {
	d := &daemon{
		socket: filepath.Join(dir, "docker.sock"), log: filepath.Join(dir, "dockerd.log"),
		cgroup: filepath.Base(filepath.Dir(dir)), ended: make(chan struct{}),
	}
	// The machine's /etc/docker/daemon.json is not for us.
	if err := write(dir, "daemon.json", "{}\n"); err != nil {
		return nil, err
	}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Not with ctx: it ends by stop, so that it can take its mounts down.
	d.cmd = exec.Command("unshare", "--mount", "sh", "-c", inPrivate, "sh", dockerd,
		"--config-file", filepath.Join(dir, "daemon.json"), "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "dockerd.pid"),
		"--host", "unix://"+d.socket, "--cgroup-parent", "/"+d.cgroup,
		// Firewall, bridge and forwarding are the machine's, and stay as they are.
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
	d.cmd.Env, d.cmd.Stdout, d.cmd.Stderr = plain(filepath.Join(dir, "home")), log, log
	// A group of its own: a Ctrl-C is for us, and we stop it when we are done.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start dockerd: %w", err)
	}
	go func() {
		_ = d.cmd.Wait() // how it ended is in its log
		close(d.ended)
	}()
	if err := d.await(ctx); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// await returns when the daemon answers.
func (d *daemon) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	for {
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-d.ended:
			return fmt.Errorf("dockerd ended at once; it said:\n%s", tail(d.log))
		case <-ctx.Done():
			return fmt.Errorf("dockerd did not answer: %w; it said:\n%s", ctx.Err(), tail(d.log))
		case <-time.After(pollEvery):
		}
	}
}

// stop ends the daemon, and with it its containerd and its mounts, and removes
// the cgroups that it leaves.
func (d *daemon) stop() (err error) {
	// It may have ended already, which the wait below sees too.
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(killAfter):
		err = errors.Join(fmt.Errorf("dockerd did not end %v after SIGTERM; killed", killAfter), d.cmd.Process.Kill())
		<-d.ended
	}
	// Version 1 has a tree for each controller, version 2 one for all.
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		trees, globErr := filepath.Glob(filepath.Join(pattern, d.cgroup))
		err = errors.Join(err, globErr)
		for _, tree := range trees {
			err = errors.Join(err, removeCgroups(tree))
		}
	}
	return err
}

// removeCgroups removes a cgroup and those below it; their files are the
// kernel's and go with them.
func removeCgroups(root string) error {
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			found = append(found, path)
		}
		return err
	})
	for len(found) > 0 { // those below first
		err = errors.Join(err, syscall.Rmdir(found[len(found)-1]))
		found = found[:len(found)-1]
	}
	return err
}

// tail is the end of a log.
func tail(file string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-tailBytes):]
}
