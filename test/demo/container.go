package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

const (
	// answerTimeout is how long the application may take to answer.
	answerTimeout = 20 * time.Second
	// quitTimeout is how long it may take to stop when it is told to.
	quitTimeout = 10 * time.Second
	// dialTimeout is for loopback. A first packet that comes before the container's
	// loopback is up is lost, and sent again only after a second.
	dialTimeout = 100 * time.Millisecond
	// maxAnswer is how many bytes of an answer are shown.
	maxAnswer = 4096
	// pollEvery is how often we ask while we wait.
	pollEvery = 20 * time.Millisecond
)

// container is a pulled image that runs under runc, in namespaces of its own:
// its port clashes with none of this machine's.
type container struct {
	dir    string // rootfs, config.json, runc's state
	id     string
	config v1.Config
	cmd    *exec.Cmd
	said   bytes.Buffer
	ended  chan struct{} // closed when the application has ended
}

// runPushed pulls what was pushed, runs it, and shows its answer.
func (d *demo) runPushed(ctx context.Context) (err error) {
	began := time.Now()
	var answer string
	defer func() {
		result := answer
		if err != nil {
			result = err.Error()
		}
		d.table.add("run", time.Since(began), result)
	}()
	c := &container{dir: filepath.Join(d.work, "container"), id: fmt.Sprintf("imagewright-demo-%d", os.Getpid()), ended: make(chan struct{})}
	if err := errors.Join(os.RemoveAll(c.dir), os.MkdirAll(c.dir, 0o755)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
	ref, err := d.pull(ctx, c)
	if err != nil {
		return fmt.Errorf("pull what was pushed: %w", err)
	}
	say("\n$ run %s", ref)
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.start(); err != nil {
		return err
	}
	if answer, err = c.ask(ctx, exposedPort(c.config)); err != nil {
		return err
	}
	return c.checkHealth(ctx)
}

// start runs the application in the background.
func (c *container) start() error {
	if err := c.writeSpec(); err != nil {
		return fmt.Errorf("describe the container: %w", err)
	}
	c.cmd = c.runc("run", "--bundle", c.dir, "--pid-file", c.pidFile(), c.id)
	c.cmd.Stdout, c.cmd.Stderr = &c.said, &c.said
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("run the image: %w", err)
	}
	go func() {
		// How it ended is told by what it said; that it ended, by the channel.
		_ = c.cmd.Wait()
		close(c.ended)
	}()
	return nil
}

func (c *container) pidFile() string { return filepath.Join(c.dir, "pid") }

func (c *container) runc(args ...string) *exec.Cmd {
	cmd := exec.Command("runc", append([]string{"--root", filepath.Join(c.dir, "runc")}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

// ask sends GET / from inside the container's network until it is answered, and
// prints the answer.
func (c *container) ask(ctx context.Context, port int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	say("asking http://%s/ inside the container's own network", address)
	for {
		status, body, err := c.get(address)
		if err == nil {
			say("%s\n%s", status, body)
			first, _, _ := strings.Cut(string(body), "\n")
			return fmt.Sprintf("HTTP %s, %q", status, first), nil
		}
		select {
		case <-c.ended:
			return "", fmt.Errorf("the application ended at once; it said:\n%s", c.said.Bytes())
		case <-ctx.Done():
			return "", fmt.Errorf("no answer at %s within %v: %w", address, answerTimeout, err)
		case <-time.After(pollEvery):
		}
	}
}

// get sends one request over a connection made in the container's network, and
// returns the answer's status and the beginning of its body.
func (c *container) get(address string) (status string, body []byte, err error) {
	pid, err := c.pid()
	if err != nil {
		return "", nil, err // not started yet
	}
	var connection net.Conn
	err = inNetwork(pid, func() (err error) {
		connection, err = net.DialTimeout("tcp4", address, dialTimeout)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	defer connection.Close()
	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return "", nil, err
	}
	if err := errors.Join(connection.SetDeadline(time.Now().Add(answerTimeout)), request.Write(connection)); err != nil {
		return "", nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), request)
	if err != nil {
		return "", nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.Status, bytes.TrimSpace(body), err
}

// inNetwork calls f on a thread that is in the network namespace of process pid.
// Sockets and children that f makes belong there; the thread is thrown away.
func inNetwork(pid string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- func() error {
			namespace, err := os.Open("/proc/" + pid + "/ns/net")
			if err != nil {
				return err
			}
			defer namespace.Close()
			if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter %s: %w", namespace.Name(), err)
			}
			return f()
		}()
	}()
	return <-done
}

// checkHealth runs the image's HEALTHCHECK once, as Docker would: in the
// container's files and network, as its user. `runc exec` does not do where the
// demo itself runs in a chroot.
func (c *container) checkHealth(ctx context.Context) error {
	if c.config.Healthcheck == nil || len(c.config.Healthcheck.Test) < 2 {
		return nil
	}
	test := c.config.Healthcheck.Test
	command := test[1:]
	if test[0] == "CMD-SHELL" {
		command = []string{"/bin/sh", "-c", test[1]}
	}
	pid, err := c.pid()
	if err != nil {
		return err
	}
	uid, gid, err := lookUpUser(c.rootfs(), c.config.User)
	if err != nil {
		return err
	}
	check := exec.CommandContext(ctx, command[0], command[1:]...)
	check.Path, check.Err = c.lookUpCommand(command[0]), nil
	check.Env, check.Dir = c.config.Env, cmp.Or(c.config.WorkingDir, "/")
	check.SysProcAttr = &syscall.SysProcAttr{
		Chroot: "/proc/" + pid + "/root", Credential: &syscall.Credential{Uid: uid, Gid: gid}, Pdeathsig: syscall.SIGKILL,
	}
	var out []byte
	err = inNetwork(pid, func() error {
		out, err = check.CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("HEALTHCHECK %q: %w; it said:\n%s", command, err, out)
	}
	say("HEALTHCHECK %s: healthy", strings.Join(command, " "))
	return nil
}

// lookUpCommand finds a program in the container's PATH.
func (c *container) lookUpCommand(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	for _, variable := range c.config.Env {
		path, _ := strings.CutPrefix(variable, "PATH=")
		for _, dir := range filepath.SplitList(path) {
			if info, err := os.Stat(filepath.Join(c.rootfs(), dir, name)); err == nil && info.Mode().IsRegular() {
				return filepath.Join(dir, name)
			}
		}
	}
	return name
}

// pid is the number of the application's process.
func (c *container) pid() (string, error) {
	text, err := os.ReadFile(c.pidFile())
	return string(bytes.TrimSpace(text)), err
}

// stop ends the application by its STOPSIGNAL, or harder, and leaves nothing.
func (c *container) stop() error {
	if c.cmd == nil || c.cmd.Process == nil {
		return nil
	}
	signal := c.config.StopSignal
	if signal == "" {
		signal = "SIGTERM"
	}
	// It may have ended already; whether it is gone is seen below.
	_ = c.runc("kill", c.id, signal).Run()
	select {
	case <-c.ended:
		return nil
	case <-time.After(quitTimeout):
		say("the application did not end %v after %s; it is killed", quitTimeout, signal)
	}
	out, err := c.runc("delete", "--force", c.id).CombinedOutput()
	if err != nil {
		return fmt.Errorf("delete the container: %w; runc said: %s", err, out)
	}
	<-c.ended
	return nil
}

// exposedPort is the lowest TCP port the image exposes, or 8080.
func exposedPort(config v1.Config) int {
	var ports []int
	for exposed := range config.ExposedPorts {
		number, protocol, _ := strings.Cut(exposed, "/")
		if port, err := strconv.Atoi(number); err == nil && protocol != "udp" {
			ports = append(ports, port)
		}
	}
	if len(ports) == 0 {
		return 8080
	}
	return slices.Min(ports)
}
