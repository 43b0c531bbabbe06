package userns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
)

const (
	seccompHint = "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined; " +
		"in Kubernetes set seccompProfile.type: Unconfined and appArmorProfile.type: Unconfined"
	confinedHint = "start the container with --security-opt apparmor=unconfined; in Kubernetes set appArmorProfile.type: Unconfined"
	ubuntuHint   = "on the host, as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; or give this program an AppArmor profile with the rule \"userns,\""
)

// system is what the kernel says about itself and this process; a value that it
// does not know is "".
type system struct {
	maxNamespaces string            // user.max_user_namespaces
	clone         string            // kernel.unprivileged_userns_clone, Debian's and Arch's
	appArmor      string            // kernel.apparmor_restrict_unprivileged_userns, Ubuntu's
	status        map[string]string // /proc/self/status
}

func observe() system {
	return system{
		maxNamespaces: sysctl("user/max_user_namespaces"),
		clone:         sysctl("kernel/unprivileged_userns_clone"),
		appArmor:      sysctl("kernel/apparmor_restrict_unprivileged_userns"),
		status:        ownStatus(),
	}
}

func sysctl(name string) string {
	text, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func ownStatus() map[string]string {
	status := map[string]string{}
	f, err := os.Open("/proc/thread-self/status")
	if err != nil {
		return status
	}
	defer f.Close()
	for lines := bufio.NewScanner(io.LimitReader(f, 64<<10)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		status[name] = strings.TrimSpace(value)
	}
	return status
}

// refused says why the kernel made no user namespace, as err.
func refused(err error, s system) error {
	err = fmt.Errorf("make a user namespace: %w", err)
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return fault.Failed(fmt.Errorf("%w (user.max_user_namespaces is %s): %w", ErrOff, s.maxNamespaces, err),
			"on the host, as root: sysctl -w user.max_user_namespaces=28633")
	case errors.Is(err, unix.EPERM) && s.clone == "0":
		return fault.Failed(fmt.Errorf("%w (kernel.unprivileged_userns_clone is 0): %w", ErrOff, err),
			"on the host, as root: sysctl -w kernel.unprivileged_userns_clone=1")
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return fault.Failed(fmt.Errorf("%w: %w", ErrOff, err), "use a kernel with CONFIG_USER_NS")
	}
	return forbidden(err, s)
}

// refusal says why the stage could not make its mounts.
func (a answer) refusal(s system) error {
	if a.Errno == 0 {
		return nil
	}
	err := fmt.Errorf("%s in a user namespace: %w", a.What, a.Errno)
	if a.What == mountProc && a.Errno == unix.EPERM {
		return fault.Failed(fmt.Errorf("%w: %w", ErrMaskedProc, err),
			"start the container with --security-opt systempaths=unconfined; in Kubernetes set procMount: Unmasked")
	}
	return forbidden(err, s)
}

// forbidden tells who forbids what err says: the kernel itself does not.
func forbidden(err error, s system) error {
	switch {
	case s.appArmor == "1" && s.status["Seccomp"] != "2":
		return fault.Failed(fmt.Errorf("%w: %w", ErrAppArmor, err), ubuntuHint)
	case errors.Is(err, unix.EACCES) && s.appArmor == "1":
		return fault.Failed(fmt.Errorf("%w: %w", ErrAppArmor, err), confinedHint+"; "+ubuntuHint)
	case errors.Is(err, unix.EACCES):
		return fault.Failed(fmt.Errorf("%w: %w", ErrAppArmor, err), confinedHint)
	case errors.Is(err, unix.EPERM) && s.status["Seccomp"] == "2":
		return fault.Failed(fmt.Errorf("%w: %w", ErrSeccomp, err), seccompHint)
	case errors.Is(err, unix.EPERM):
		return fault.Failed(err, "is this a chroot? The kernel makes no user namespace there")
	}
	return err
}
