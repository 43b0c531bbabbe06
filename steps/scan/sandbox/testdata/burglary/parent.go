//go:build thief && linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/imagewright/imagewright/steps/scan/sandbox"
	"github.com/imagewright/imagewright/steps/scan/sandbox/thief"
	"golang.org/x/sys/unix"
)

// employer is the parent: it holds secrets in every way that a program does.
type employer struct {
	order
	lent    *os.File // for a thief to read
	signals atomic.Int64
}

// parent has a thief try each way, and reports.
func parent() error {
	o, err := receive()
	if err != nil {
		return err
	}
	e := &employer{order: o}
	loot := []byte(os.Getenv("GITHUB_TOKEN"))
	variable := new(uint64)
	e.Scene.Parent = os.Getpid()
	e.Scene.Address, e.Scene.Variable = uintptr(unsafe.Pointer(&loot[0])), uintptr(unsafe.Pointer(variable))
	defer runtime.KeepAlive(loot)
	defer runtime.KeepAlive(variable)
	if err := errors.Join(e.holdFiles(loot), lowerLimits(), lack(o.Plan.Without)); err != nil {
		return err
	}
	e.countSignals()
	var r report
	for _, way := range thief.Ways(e.Scene) {
		if o.Plan.Only != "" && o.Plan.Only != way.Name {
			continue
		}
		status, why := e.try(way)
		r.Status = status
		o := outcome{Name: way.Name, Succeeded: why == nil}
		if why != nil {
			o.Why = why.Error()
		}
		r.Outcomes = append(r.Outcomes, o)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// holdFiles opens a file that has no name any more, leaves it to be inherited,
// as careless programs do, and opens one to lend.
func (e *employer) holdFiles(loot []byte) error {
	path := e.Scene.Home + "/open"
	if err := os.WriteFile(path, loot, 0o600); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	const careless = 100
	if err := unix.Dup3(int(f.Fd()), careless, 0); err != nil {
		return err
	}
	if e.lent, err = os.Open(e.Scene.Cache + "/db/trivy.db"); err != nil {
		return err
	}
	return os.Remove(path)
}

// lowerLimits lowers what can be raised again.
func lowerLimits() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = 1 << 30
	return unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
}

// lack makes the kernel one that does not know what is named, as old ones, and
// those of containers, do not.
func lack(names []string) error {
	policy := seccomp.Policy{DefaultAction: seccomp.ActionAllow}
	for _, name := range names {
		group := seccomp.SyscallGroup{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)}
		switch name {
		case "landlock":
			group.Names = []string{"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}
		case "seccomp":
			group.Names = []string{"seccomp"}
		case "namespaces":
			group.Action = seccomp.ActionErrno // EPERM
			group.NamesWithCondtions = []seccomp.NameWithConditions{
				{Name: "clone", Conditions: []seccomp.Condition{{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_NEWUSER}}},
			}
		}
		policy.Syscalls = append(policy.Syscalls, group)
	}
	if len(names) == 0 {
		return nil
	}
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy})
}

func (e *employer) countSignals() {
	c := make(chan os.Signal, 16)
	signal.Notify(c, unix.SIGUSR1)
	go func() {
		for range c {
			e.signals.Add(1)
		}
	}()
}

// patience is for a thief to be done, and for a signal to come.
const (
	patience       = 20 * time.Second
	signalPatience = time.Second
)

// try has one thief try one way, and returns what confined it and what stood
// against it.
func (e *employer) try(way thief.Way) (sandbox.Status, error) {
	if err := errors.Join(os.RemoveAll(e.Scene.Scratch), os.Mkdir(e.Scene.Scratch, 0o700)); err != nil {
		return sandbox.Status{}, err
	}
	before := e.signals.Load()
	said, err := e.run(way.Name)
	status, succeeded := sandbox.Status{}, false
	for line := range strings.Lines(said) {
		if succeeded = line == thief.Said; succeeded {
			break
		}
		if rest, ok := strings.CutPrefix(line, "status: "); ok {
			err = errors.Join(err, json.Unmarshal([]byte(rest), &status))
		} else {
			err = errors.New(strings.TrimSpace(line))
		}
	}
	switch {
	case succeeded && way.Signals && !e.gotSignal(before):
		return status, errors.New("the parent got no signal")
	case succeeded && way.Leaves != "":
		_, err := os.Lstat(way.Leaves)
		return status, err
	case succeeded:
		return status, nil
	case err == nil:
		return status, errors.New("the thief said nothing")
	}
	return status, err
}

func (e *employer) gotSignal(before int64) bool {
	for until := time.Now().Add(signalPatience); time.Now().Before(until); time.Sleep(time.Millisecond) {
		if e.signals.Load() > before {
			return true
		}
	}
	return false
}

// run starts a thief and returns what it reported.
func (e *employer) run(way string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o := e.order
	o.Way, o.Options = way, sandbox.Options{Mode: e.Plan.Mode, ScratchDir: e.Scene.Scratch, MaxMemory: 1 << 30, MaxCPU: time.Minute, MaxFileSize: 1 << 20}
	orders, err := give(o)
	if err != nil {
		return "", err
	}
	defer orders.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	cmd, err := e.command(ctx, []*os.File{w, orders, e.lent})
	if err != nil {
		return "", err
	}
	var words bytes.Buffer
	cmd.Stderr = &words
	err = cmd.Start()
	w.Close()
	if err != nil {
		return "", fmt.Errorf("start: %w", err)
	}
	var said bytes.Buffer
	_, readErr := bufio.NewReader(r).WriteTo(&said)
	if err := cmd.Wait(); err != nil {
		line, _, _ := strings.Cut(words.String(), "\n")
		return said.String(), fmt.Errorf("%w %s", err, line)
	}
	return said.String(), readErr
}

func (e *employer) command(ctx context.Context, files []*os.File) (*exec.Cmd, error) {
	if !e.Plan.Naked {
		return sandbox.Command(ctx, sandbox.CommandOptions{Name: "thief", Files: files})
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe") // with all that is inherited
	cmd.Args, cmd.ExtraFiles = []string{"thief"}, files
	return cmd, nil
}
