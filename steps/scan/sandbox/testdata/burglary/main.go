//go:build thief && linux

// Command burglary lets a thief try its ways on a household, one process a way.
// It is three programs: the household, the parent, which has the secrets and
// starts thieves, and the thief, confined or not. In the place of the last two it
// takes a real program that has a thief in it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/imagewright/imagewright/steps/scan/sandbox"
	"github.com/imagewright/imagewright/steps/scan/sandbox/thief"
	"github.com/imagewright/imagewright/steps/scan/sandbox/thief/household"
)

// plan is what the test asks for.
type plan struct {
	User    int          // who the parent is
	Naked   bool         // the thief is an ordinary child
	Mode    sandbox.Mode // else
	Without []string     // what this kernel shall lack: landlock, seccomp, namespaces
	Only    string       // the way to try; "": all
	Work    work         // in the place of parent and thief, if it has Args
}

// outcome of a way; Why is what stood against it.
type outcome struct {
	Name, Why string
	Succeeded bool
}

// report is what the test gets.
type report struct {
	Status   sandbox.Status // of the last thief
	Done     done           // of the real program
	Outcomes []outcome
}

// order is what a parent and a thief are told.
type order struct {
	Plan    plan
	Scene   thief.Scene
	Way     string
	Options sandbox.Options
}

// orderFD is where an order is read; thieves report at reportFD.
const (
	reportFD = 3 + iota
	orderFD
)

func main() {
	role := map[string]func() error{"parent": parent, "thief": beThief}[os.Args[0]]
	if role == nil {
		role = keepHouse
	}
	if err := role(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// keepHouse plants everything and starts the parent. The plan is its argument.
func keepHouse() (err error) {
	runtime.LockOSThread() // the session's keys are this thread's
	var o order
	if err := json.Unmarshal([]byte(os.Args[1]), &o.Plan); err != nil {
		return err
	}
	var dir *os.Root
	if o.Plan.Work.Args != nil {
		if dir, err = os.OpenRoot(o.Plan.Work.Dir); err != nil {
			return err
		}
		defer dir.Close()
	}
	h, err := household.Open(o.Plan.User)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	o.Scene = h.Scene
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Dir = h.Environ(), h.Scene.Workspace
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if id := uint32(o.Plan.User); id != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: id, Gid: id}
	}
	if dir == nil {
		return o.runParent(h, cmd)
	}
	if err := o.moveIn(dir); err != nil {
		return err
	}
	r, err := o.Plan.Work.run(h, cmd)
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(r))
}

// runParent has the parent report.
func (o order) runParent(h *household.Household, cmd *exec.Cmd) error {
	orders, err := give(o)
	if err != nil {
		return err
	}
	defer orders.Close()
	cmd.Args = []string{"parent", "--password=" + h.Canary}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{os.Stdout, orders} // where a thief's are
	return cmd.Run()
}

// give returns a file to read o from.
func give(o order) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		json.NewEncoder(w).Encode(o) // a reader that is gone will say so itself
		w.Close()
	}()
	return r, nil
}

func receive() (o order, err error) {
	f := os.NewFile(orderFD, "order")
	defer f.Close()
	return o, json.NewDecoder(f).Decode(&o)
}
