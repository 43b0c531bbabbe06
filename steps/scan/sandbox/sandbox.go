// Package sandbox confines a process that reads what strangers wrote and runs
// code that strangers maintain, so that neither can take or break anything.
//
// [Command] runs this very program again, with an empty environment and no
// descriptor but those it is given. That process calls [Enter] once it has what
// it needs and before it reads the first hostile byte; there is no way back.
// From then on it has its descriptors, memory, threads, and one scratch
// directory. It is held several times over, so that one gap is not a way out:
//
//   - seccomp allows about a hundred system calls, those that Go's runtime, a mapped
//     database and files need. Sockets, programs, other processes, namespaces,
//     devices and new executable memory are not among them.
//   - Landlock leaves it the scratch directory's files.
//   - As root it also changes its root directory to there, becomes a user that
//     owns nothing else, and gives up all capabilities.
//   - It cannot be traced, and resource limits bound its memory, time and files.
//
// The kernel may lack one of them. Without Landlock the changed root keeps files
// away; an ordinary user may change theirs in a user namespace. Where that is
// forbidden too, seccomp allows no call that takes a path, and what needs the
// scratch directory fails. Old Landlocks know fewer actions than today's
// (truncating, TCP, ioctl, signals, sockets): seccomp denies all of these itself.
// Without seccomp, files and other processes' memory still are out of reach; of
// the network only TCP is. [Status] tells what holds.
//
// It is for Linux. Elsewhere nothing can be confined: [Require] is refused.
package sandbox

import (
	"os"
	"strings"
	"time"
)

// Mode says what becomes of a kernel that cannot confine fully.
type Mode string

// The modes. The zero value is Auto.
const (
	Auto    Mode = "auto"    // do what it can, and let Status tell
	Require Mode = "require" // refuse
	Off     Mode = "off"     // confine nothing
)

// Options of [Enter].
type Options struct {
	Mode Mode `json:"mode,omitempty"`
	// ScratchDir is an empty directory of this process alone, an absolute path:
	// the only place where it may make, read, write and remove files. os.TempDir
	// names it afterwards. Who made it removes it with all that is in it. Without
	// one there is no such place.
	ScratchDir string `json:"scratchDir,omitempty"`
	// MaxMemory bounds what can be allocated, bytes; what is mapped from a file
	// does not count. Garbage is collected harder from three quarters on. Beyond
	// the bound Go ends the process; see OutOfMemory. 0 is no bound.
	MaxMemory int64 `json:"maxMemory,omitempty"`
	// MaxCPU bounds the time on processors, of all threads together, to the
	// second. Then the process is killed. 0 is no bound.
	MaxCPU time.Duration `json:"maxCPU,omitempty"`
	// MaxFileSize bounds each file, bytes; more is the error EFBIG. 0 is no bound.
	MaxFileSize int64 `json:"maxFileSize,omitempty"`
}

// CommandOptions of [Command].
type CommandOptions struct {
	Name  string     // the only argument, os.Args[0], by which main knows what it is
	Files []*os.File // what is inherited, as descriptors 3, 4, …
}

// Status is what confines a process. It survives JSON.
type Status struct {
	Off        bool `json:"off,omitempty"`        // nothing does: the user said so
	Landlock   int  `json:"landlock,omitempty"`   // the ABI; 0: it does not
	Seccomp    bool `json:"seccomp,omitempty"`    // only the calls needed are allowed
	Limits     bool `json:"limits,omitempty"`     // those asked for are set
	Privileges bool `json:"privileges,omitempty"` // no capability is left, nor a way to gain one

	// Enclosed: the scratch directory is all of the file system. It stands in for
	// Landlock, where that is missing, and needs root or a user namespace.
	Enclosed bool `json:"enclosed,omitempty"`
	// Pathless: no call that takes a path is allowed, not even for the scratch
	// directory.
	Pathless bool `json:"pathless,omitempty"`

	Gaps []string `json:"gaps,omitempty"` // see Missing
}

// Missing returns what does not confine the process though it should, each with
// its reason; nothing for Off.
func (s Status) Missing() []string { return s.Gaps }

// Warning is one line about what is missing and what that means, or "".
func (s Status) Warning() string {
	if len(s.Gaps) == 0 {
		return ""
	}
	return "the process that reads the image is confined without " + strings.Join(s.Gaps, " and ") + ": " + strings.Join(s.meaning(), ", ")
}

// tcpABI is the first Landlock that closes TCP.
const tcpABI = 4

// meaning says, for each gap, what is left.
func (s Status) meaning() (all []string) {
	switch {
	case s.Landlock > 0:
	case s.Enclosed:
		all = append(all, "a changed root directory keeps your files from it")
	case s.Pathless:
		all = append(all, "it can open no file, so images with files that must be unpacked cannot be read")
	default:
		all = append(all, "it could read your files")
	}
	switch {
	case s.Seccomp:
	case s.Landlock >= tcpABI:
		all = append(all, "it could use the network and local services, though not TCP, and start programs")
	default:
		all = append(all, "it could use the network and local services, and start programs")
	}
	if !s.Limits {
		all = append(all, "its memory and time are not bounded")
	}
	if !s.Privileges {
		all = append(all, "it keeps capabilities")
	}
	return all
}

// OutOfMemory reports whether a line of what a process wrote to stderr says that
// it ended because it reached MaxMemory. Go has a wording for each place where
// that may happen.
func OutOfMemory(line string) bool {
	rest, ok := strings.CutPrefix(line, "fatal error: ")
	return ok && (strings.Contains(rest, "out of memory") || strings.Contains(rest, "cannot allocate memory"))
}
