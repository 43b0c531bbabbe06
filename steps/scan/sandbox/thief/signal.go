//go:build thief && linux

package thief

import (
	"context"

	"golang.org/x/sys/unix"
)

// signalWays send the parent a signal. One that kills is sent as easily.
func signalWays(s Scene) []Way {
	return []Way{
		{Name: "a signal to the parent by kill", Signals: true, Try: func(context.Context) error { return unix.Kill(s.Parent, unix.SIGUSR1) }},
		{Name: "a signal to the parent by tgkill", Signals: true, Try: func(context.Context) error {
			return unix.Tgkill(s.Parent, s.Parent, unix.SIGUSR1)
		}},
		{Name: "a signal to the parent by a pidfd", Signals: true, Try: s.signalByPidfd},
		{Name: "a signal to the parent by owning a pipe", Signals: true, Try: s.signalByOwner},
	}
}

func (s Scene) signalByPidfd(context.Context) error {
	parent, err := unix.PidfdOpen(s.Parent, 0)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	return unix.PidfdSendSignal(parent, unix.SIGUSR1, nil, 0)
}

// signalByOwner makes the parent the one to be told when a pipe can be read.
func (s Scene) signalByOwner(context.Context) error {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	for _, step := range []struct{ command, value int }{
		{unix.F_SETOWN, s.Parent},
		{unix.F_SETSIG, int(unix.SIGUSR1)},
		{unix.F_SETFL, unix.O_ASYNC},
	} {
		if _, err := unix.FcntlInt(uintptr(fds[0]), step.command, step.value); err != nil {
			return err
		}
	}
	_, err := unix.Write(fds[1], []byte("now"))
	return err
}
