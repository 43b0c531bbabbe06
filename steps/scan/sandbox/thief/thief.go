//go:build thief && linux

// Package thief is what a scanner turns into when somebody has taken over a
// library that it is linked with: it tries every way to steal and to harm that
// is known to work. Only tests link it, by the build tag thief.
//
// What there is to steal was planted by a test (see package household). A way
// has succeeded when its effect is seen: the loot is in hand, the file changed.
//
// In March 2026 such a thief came with a release of a widely used scanner; what
// that one took is among the ways here: the memory of the process that holds the
// secrets, and the files that credentials lie in. GHSA-69fq-xp46-6x23.
package thief

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"time"
)

// Scene is what a thief knows of its surroundings, which is everything but the
// loot itself.
type Scene struct {
	Canary string // SHA-256 of the loot, in hexadecimal digits
	Parent int    // process

	Home      string // of the user
	Workspace string // a checkout
	Cache     string // of databases
	Scratch   string // where the process may write
	Neighbour string // another job's file, in the file system of Scratch

	TCP, TCP6, UDP, Resolver, Metadata string // host:port
	Abstract, Agent, Docker            string // Unix sockets

	Terminal string // the user's, a path
	OtherNet string // a network namespace, a path
	Handle   Handle // of Neighbour
	Memory   int    // System V key
	Queue    string // POSIX message queue
	Key      string // description, in the session keyring

	Address  uintptr // of the loot in the parent's memory; 0: not known
	Variable uintptr // of eight bytes in the parent's memory that may be changed
}

// Handle is a file without its name; see open_by_handle_at(2).
type Handle struct {
	Mount string
	Type  int32
	Bytes []byte
}

// Way is one way to steal or to harm.
type Way struct {
	Name string
	// Try returns nil when it succeeded. It may ruin the thread it runs on.
	Try func(context.Context) error
	// Signals tells that what succeeded is a signal, SIGUSR1, to the parent, and
	// Leaves is a file that it made: the parent alone knows whether it sees them.
	Signals bool
	Leaves  string
}

// Ways returns all there are in s. The last one, if it succeeds, ends the process:
// its place is taken by a program that writes Said to descriptor 3.
func Ways(s Scene) []Way {
	return slices.Concat(processWays(s), signalWays(s), credentialWays(s), fileWays(s), writingWays(s), networkWays(s), kernelWays(s), programWays(s))
}

// patience bounds one way.
const patience = 10 * time.Second

// Run tries a way, on a thread of its own. What ends the whole process ends Run.
func (w Way) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("panic: %v", r)
			}
		}()
		done <- w.Try(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errNoLoot = errors.New("what was read is not the loot")

// canary is what loot looks like. The thief knows only its digest, so that it
// cannot find it in its own memory.
var canary = regexp.MustCompile(`canary-[0-9a-f]{32}`)

// loot returns nil if the loot is in data.
func (s Scene) loot(data []byte) error {
	for _, found := range canary.FindAll(data, -1) {
		sum := sha256.Sum256(found)
		if hex.EncodeToString(sum[:]) == s.Canary {
			return nil
		}
	}
	return errNoLoot
}

// read takes a file.
func (s Scene) read(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return s.loot(data)
}

// mark is what a thief writes.
const mark = "the thief was here\n"

// leaveMark writes to a file and looks whether it is there.
func leaveMark(path string, flags int) error {
	f, err := os.OpenFile(path, flags|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(mark); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err == nil && !bytes.Contains(data, []byte(mark)) {
		err = errors.New("nothing was written")
	}
	return err
}
