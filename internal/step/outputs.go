package step

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/fault"
)

// writeOutputs hands the outputs to the CI and writes .imagewright/<step>.env,
// GitLab's dotenv report and Jenkins' properties file. Its names begin with IW_:
// as IMAGEWRIGHT_… they would become inputs of the next job.
func (j *Job) writeOutputs(name string) error {
	latest := map[string]string{}
	var order []string
	for _, o := range j.outputs {
		if _, seen := latest[o.name]; !seen {
			order = append(order, o.name)
		}
		latest[o.name] = o.value
	}
	if len(order) == 0 {
		return nil
	}
	if err := os.MkdirAll(j.Workspace, 0o755); err != nil {
		return fmt.Errorf("write outputs: %w", err)
	}
	err := durable.WriteFile(filepath.Join(j.Workspace, name+".env"), 0o644, func(w io.Writer) error {
		for _, o := range order {
			if _, err := fmt.Fprintf(w, "%s=%s\n", dotenvName(name, o), dotenvValue(latest[o])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write outputs: %w", err)
	}
	for _, o := range order {
		if err := j.emitter.Output(o, latest[o]); err != nil {
			return err
		}
	}
	return nil
}

func dotenvName(step, output string) string {
	return strings.ToUpper(strings.ReplaceAll("IW_"+step+"_"+output, "-", "_"))
}

// dotenvValue is value in one line: dotenv reports take no other, so the lines
// of a list are joined by commas.
func dotenvValue(value string) string {
	return ci.Printable(strings.ReplaceAll(strings.TrimSpace(value), "\n", ","))
}

// writeSummary shows the summary on the run's page; where there is none, it
// stands in .imagewright/reports.
func (j *Job) writeSummary(name string) error {
	if j.summary.Len() == 0 {
		return nil
	}
	taken, err := j.emitter.Summary(j.summary.String())
	if taken || err != nil {
		return err
	}
	dir := filepath.Join(j.Workspace, "reports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return durable.WriteFile(filepath.Join(dir, name+".md"), 0o644, func(w io.Writer) error {
		_, err := io.WriteString(w, j.summary.String())
		return err
	})
}

// checkWorkspace refuses a workspace that a checkout made a link to elsewhere:
// what steps write, as root perhaps, would land there.
func checkWorkspace(workspace string) error {
	for _, path := range []string{workspace, filepath.Join(workspace, "record"), filepath.Join(workspace, "reports")} {
		info, err := os.Lstat(path)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return fault.Usage(fmt.Errorf("workspace: %s is a symbolic link", path), "remove it, or set dir to a folder")
		}
	}
	return nil
}

// handOver gives what root made in the workspace to the checkout's owner.
func (j *Job) handOver() error { return j.HandOver(j.Workspace) }

// HandOver gives what root made at path, and below it, to the checkout's owner.
// Root's files in a checkout of another user break the runner's next checkout
// (https://github.com/actions/checkout/issues/211). What is outside the checkout
// is left alone. The workspace is handed over at a step's end in any case.
func (j *Job) HandOver(path string) error {
	if rel, err := filepath.Rel(j.Dir, path); os.Geteuid() != 0 || err != nil || !filepath.IsLocal(rel) {
		return nil
	}
	info, err := os.Stat(j.Dir)
	if err != nil {
		return fmt.Errorf("hand over %s: %w", j.Rel(path), err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	err = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if made, ok := info.Sys().(*syscall.Stat_t); !ok || made.Uid != 0 {
			return nil
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("hand over %s: %w", j.Rel(path), err)
	}
	return nil
}
