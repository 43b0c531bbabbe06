package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a step may take to stop after SIGTERM.
const stopTimeout = 20 * time.Second

// step runs one of the programs in a checkout and notes time and result.
func (d *demo) step(ctx context.Context, dir, step string, args []string, result func() (string, error)) error {
	began := time.Now()
	code, err := d.program(ctx, dir, step, args)
	took := time.Since(began)
	if err == nil && code != 0 {
		err = fmt.Errorf("imagewright-%s ended with exit code %d", step, code)
	}
	text := ""
	if err == nil {
		text, err = result()
	}
	if err != nil {
		text = err.Error()
	}
	d.table.add(step, took, text)
	return err
}

// program runs one of the programs and returns its exit code. What it says goes
// where ours goes.
func (d *demo) program(ctx context.Context, dir, step string, args []string) (int, error) {
	program := filepath.Join(d.root, "bin", "imagewright-"+step)
	say("\n$ %s", strings.Join(append([]string{"imagewright-" + step}, args...), separator(args)))
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = d.environ()
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	err := cmd.Run()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// separator puts each of many arguments on a line of its own.
func separator(args []string) string {
	if len(args) > 3 {
		return " \\\n    "
	}
	return " "
}

// environ is what the programs see: a plain terminal, whatever CI this runs in,
// with a home of the demo's, so that nothing is left in the user's.
func (d *demo) environ() []string {
	environ := []string{
		"HOME=" + d.home(),
		"TMPDIR=" + d.temporary(),
		"DOCKER_CONFIG=" + filepath.Join(os.Getenv("HOME"), ".docker"), // credentials for DB_REPOSITORY and bases
	}
	for _, name := range []string{
		"PATH", "TERM", "DOCKER_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	} {
		if value := os.Getenv(name); value != "" {
			environ = append(environ, name+"="+value)
		}
	}
	return environ
}
