package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Enter confines this process, all of its threads, for good. Descriptors that
// are open keep working: sockets and pipes, mapped files. It takes a few
// milliseconds.
//
// What a kernel lacks is an error with [Require], otherwise for [Status] to
// tell. After an error the process may be confined in part: it must not go on.
func Enter(o Options) (Status, error) {
	if o.Mode == Off {
		return Status{Off: true}, nil
	}
	if err := checkScratch(o.ScratchDir); err != nil {
		return Status{}, err
	}
	s, err := confine(o)
	if err != nil {
		return s, fmt.Errorf("confine the process that reads the image: %w", err)
	}
	if o.Mode == Require && len(s.Gaps) > 0 {
		return s, refusal(s)
	}
	return s, nil
}

// refusal is what Require says of a process that is not confined fully.
func refusal(s Status) error {
	return fault.Failed(fmt.Errorf("the process that reads the image cannot be confined: no %s", strings.Join(s.Gaps, ", no ")),
		"sandbox=auto goes on with what there is")
}

func checkScratch(dir string) error {
	if dir == "" {
		return nil
	}
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
		return fmt.Errorf("scratch directory %s: not a clean absolute path", dir)
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = errors.New("it is not empty")
	}
	if err != nil {
		return fmt.Errorf("scratch directory %s: %w", dir, err)
	}
	return nil
}

// confine applies one layer after another: what needs a right comes before the
// loss of it, seccomp last.
func confine(o Options) (s Status, err error) {
	// Without a way to gain rights, seccomp and Landlock are open to everybody.
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return s, fmt.Errorf("set no_new_privs: %w", err)
	}
	gap := func(what string, err error) bool {
		if err != nil {
			s.Gaps = append(s.Gaps, fmt.Sprintf("%s (%v)", what, err))
		}
		return err == nil
	}
	s.Limits = gap("resource limits", limit(o))
	if o.ScratchDir != "" {
		// What libraries put into the directory for temporary files goes there too.
		if err := os.Setenv("TMPDIR", o.ScratchDir); err != nil {
			return s, err
		}
		s.Enclosed = enclose(o.ScratchDir) == nil // Landlock does the same, without root
	}
	s.Privileges = gap("the loss of all capabilities", shed(s.Enclosed, o.ScratchDir))
	if err := hide(); err != nil {
		return s, err
	}
	s.Landlock, err = restrictFiles(o.ScratchDir)
	gap("Landlock", err)
	s.Pathless = o.ScratchDir == "" || s.Landlock == 0 && !s.Enclosed
	s.Seccomp = gap("seccomp", filterCalls(!s.Pathless))
	s.Pathless = s.Pathless && s.Seccomp
	return s, nil
}

// onAllThreads makes a system call that counts for the thread that makes it.
func onAllThreads(number, a, b, c uintptr) error {
	if _, _, errno := psx.Syscall6(number, a, b, c, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
