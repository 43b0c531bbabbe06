package buildkit

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/imagewright/imagewright/internal/buildkit/userns"
	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
)

// unfit says why an engine cannot have the rights of a mode here.
type unfit struct {
	mode string
	err  error
}

// Error implements error.
func (e *unfit) Error() string { return e.mode + ": " + e.err.Error() }

// Unwrap returns why.
func (e *unfit) Unwrap() error { return e.err }

// ways are the modes to try, in this order: real root before a user namespace,
// which has no control groups and whose files have other owners.
func (o Options) ways() ([]string, error) {
	all := []string{Root, Rootless}
	if os.Geteuid() != 0 {
		all = []string{Sudo, Rootless}
	}
	if o.Privilege == "" {
		return all, nil
	}
	if !slices.Contains([]string{Root, Sudo, Rootless}, o.Privilege) {
		err := fmt.Errorf("privilege %q is none of %s, %s and %s", o.Privilege, Root, Sudo, Rootless)
		return nil, fault.Usage(err, "")
	}
	if o.Privilege == Sudo && os.Geteuid() == 0 {
		return []string{Root}, nil
	}
	return []string{o.Privilege}, nil
}

// needRoot returns an *unfit when this process is not root enough.
func needRoot() error {
	if err := isRoot(); err != nil {
		return &unfit{Root, err}
	}
	return nil
}

// isRoot returns why this process is not root enough.
func isRoot() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("this is user %d", uid)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if data[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return errors.New("this root is without CAP_SYS_ADMIN")
	}
	if userns.Inside() {
		return errors.New("this is root of a user namespace") // Rootless is what works there
	}
	return nil
}

// sudoRefused is sudo's own word for why it did not work.
func sudoRefused(out []byte, err error) error {
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if first == "" {
		return fmt.Errorf("sudo -n: %w", err)
	}
	return errors.New(ci.Printable(first))
}

// sudoEnviron is all that sudo itself gets of the environment.
func sudoEnviron() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
}

// noWay is the error when none of the ways is open.
func noWay(tried []error) error {
	why := make([]string, len(tried))
	hint := rootHint
	for i, err := range tried {
		why[i] = err.Error()
		if more := fault.Hint(err); more != "" {
			hint += "; or " + more
		}
	}
	return fault.Failed(&shut{strings.Join(why, "; "), tried}, hint)
}

// shut is an ErrNotRoot with what was tried instead.
type shut struct {
	why   string
	tried []error
}

// Error implements error.
func (e *shut) Error() string { return ErrNotRoot.Error() + "; " + e.why }

// Unwrap returns ErrNotRoot and what was tried.
func (e *shut) Unwrap() []error { return append([]error{ErrNotRoot}, e.tried...) }
