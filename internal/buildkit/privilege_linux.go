package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/imagewright/imagewright/internal/buildkit/userns"
	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
)

// sudoTimeout bounds the question whether sudo works without a password.
const sudoTimeout = 10 * time.Second

// unfit says why an engine cannot have the rights of a mode here.
type unfit struct {
	mode string
	err  error
}

func (e *unfit) Error() string { return e.mode + ": " + e.err.Error() }

// Unwrap returns why.
func (e *unfit) Unwrap() error { return e.err }

// CanStart returns why Start could not start an engine here, or nil. It starts
// none, so a state in use or damaged is none of its reasons. Errors: those of
// Start, with their hints.
func CanStart(ctx context.Context, o Options) error {
	o = o.filled()
	if _, err := o.wish(ctx); err != nil {
		return err
	}
	ways, err := o.ways()
	if err != nil {
		return err
	}
	var tried []error
	for _, mode := range ways {
		err := canBe(ctx, mode)
		if err == nil {
			return nil
		}
		tried = append(tried, err)
	}
	return noWay(tried)
}

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

// canBe returns why an engine cannot have the rights of mode, or nil.
func canBe(ctx context.Context, mode string) error {
	var err error
	switch mode {
	case Root:
		err = isRoot()
	case Sudo:
		err = hasSudo(ctx)
	case Rootless:
		err = userns.Check(ctx)
	}
	if err != nil {
		return &unfit{mode, err}
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

// hasSudo returns why sudo would not run a command without asking.
func hasSudo(ctx context.Context) error {
	path, err := exec.LookPath("sudo")
	if err != nil {
		return errors.New("there is no sudo on PATH")
	}
	ctx, cancel := context.WithTimeout(ctx, sudoTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-n", "true")
	cmd.Env = sudoEnviron()
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return sudoRefused(out, err)
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

func (e *shut) Error() string { return ErrNotRoot.Error() + "; " + e.why }

// Unwrap returns ErrNotRoot and what was tried.
func (e *shut) Unwrap() []error { return append([]error{ErrNotRoot}, e.tried...) }
