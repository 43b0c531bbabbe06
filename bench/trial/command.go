package trial

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// killAfter is how long a program may take to stop after SIGTERM.
const killAfter = 20 * time.Second

// Environ is the environment of all that is compared: a terminal's, whatever CI
// this runs in, with a home of its own, so that nothing is left in the user's.
func Environ(home string) []string {
	return []string{"HOME=" + home, "TMPDIR=" + home, "PATH=" + os.Getenv("PATH")}
}

// Command is a program in the foreground, which ends with ctx and with us.
func Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	return cmd
}

// Version runs a command that tells a program's version, and returns the first
// line of what it says.
func Version(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", cmd.Args[0], err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first, nil
}
