package buildkit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/imagewright/imagewright/internal/fault"
)

const (
	runtimeHint = "install package runc, or crun 1.15 or newer, or put one beside this program or in bin/ beside it"

	probeTimeout = 10 * time.Second // for a runtime to print its help
)

// findRuntime returns the absolute path of the OCI runtime to use.
//
// The working directory is never searched: it is a checkout, and what lies in
// it may come from anybody, while the runtime runs as root outside any sandbox.
func findRuntime(ctx context.Context, named string, environ map[string]string, executable string) (string, error) {
	if named != "" {
		return namedRuntime(ctx, named)
	}
	dirs := filepath.SplitList(environ["PATH"])
	if executable != "" {
		beside := filepath.Dir(executable)
		dirs = append(dirs, beside, filepath.Join(beside, "bin"))
	}
	var unfit error
	for _, name := range []string{"runc", "buildkit-runc", "crun"} {
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			if !filepath.IsAbs(dir) || !isExecutable(path) {
				continue
			}
			err := fit(ctx, path)
			if err == nil {
				return path, nil
			}
			if unfit == nil {
				unfit = err
			}
		}
	}
	err := fmt.Errorf("%w: no runc or crun in %s", ErrNoRuntime, strings.Join(dirs, ", "))
	if unfit != nil {
		err = fmt.Errorf("%w: no runc in %s, and %w", ErrNoRuntime, strings.Join(dirs, ", "), unfit)
	}
	return "", fault.Failed(err, runtimeHint)
}

func namedRuntime(ctx context.Context, named string) (string, error) {
	path, err := exec.LookPath(named)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err == nil {
		err = fit(ctx, path)
	}
	if err != nil {
		return "", fault.Failed(fmt.Errorf("%w: %q cannot be used: %w", ErrNoRuntime, named, err), "it is what the input runtime names: an executable runc, or crun 1.15 or newer")
	}
	return path, nil
}

// fit returns why BuildKit cannot run steps with the runtime at path: it calls
// `run --keep`, which crun has since 1.15 only (Debian 12 and Ubuntu 24.04 have
// older ones). Every step would fail with exit code 64 and no other word.
//
// https://github.com/moby/buildkit/issues/4721
func fit(ctx context.Context, path string) error {
	if !isCrun(path) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	help := exec.CommandContext(ctx, path, "run", "--help")
	help.Env = []string{}
	help.WaitDelay = time.Second
	out, err := help.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s does not work: %w", path, err)
	}
	if !strings.Contains(string(out), "--keep") {
		return fmt.Errorf("%s is older than crun 1.15", path)
	}
	return nil
}

func isCrun(path string) bool { return strings.Contains(filepath.Base(path), "crun") }

func isExecutable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}
