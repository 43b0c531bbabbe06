package scan

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/step"
)

// Files of the user that decide what is found and what counts.
const (
	ignoreFileName   = ".trivyignore"
	ignoreYAMLName   = ".trivyignore.yaml"
	secretConfigName = "trivy-secret.yaml"
	maxPolicyBytes   = 1 << 20   // far above any list that a person keeps
	maxBaselineBytes = 256 << 20 // a report with the packages of a large image
)

// policyFiles is what the files of the user say.
type policyFiles struct {
	ignores      ignores
	baseline     baseline
	secretConfig []byte // nil for Trivy's own rules
}

// readFiles reads the files that the inputs name, or those in the checkout that
// count without being named.
//
// In a run for a fork everybody who opens a pull request writes the checkout, so
// none of it may decide about the gate: only files outside it count then.
func (in *Inputs) readFiles(job *step.Job, now time.Time) (policyFiles, error) {
	var all policyFiles
	names, named := in.TrivyIgnores, true
	if len(names) == 0 {
		names, named = []string{ignoreFileName, ignoreYAMLName}, false
	}
	for _, name := range names {
		data, err := policyFile(job, "trivyignores", name, named, maxPolicyBytes)
		if err != nil {
			return all, err
		}
		if data == nil {
			continue
		}
		file, err := parseIgnores(name, data, now)
		if err != nil {
			return all, fault.Usage(fmt.Errorf("input trivyignores: %w", err), "")
		}
		all.ignores = append(all.ignores, file)
	}
	if in.Baseline != "" {
		data, err := policyFile(job, "baseline", in.Baseline, true, maxBaselineBytes)
		if err != nil {
			return all, err
		}
		if all.baseline, err = parseBaseline(data); err != nil {
			return all, fault.Usage(fmt.Errorf("input baseline: %s: %w", in.Baseline, err), "name a report that scan wrote as json")
		}
	}
	name, named := in.SecretConfig, true
	if name == "" {
		name, named = secretConfigName, false
	}
	var err error
	all.secretConfig, err = policyFile(job, "secret-config", name, named, maxPolicyBytes)
	return all, err
}

// policyFile reads a file that decides about the gate. It is nil when it does
// not count: it is not there and nobody named it, or it is a fork's.
func policyFile(job *step.Job, input, name string, named bool, limit int64) ([]byte, error) {
	path := job.Abs(name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if job.CI.Fork && inCheckout(job.Dir, path) {
		job.Log.Warn("a file of the checkout is ignored in a run for a fork: it could let anything pass", "input", input, "file", name)
		return nil, nil
	}
	var data []byte
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err == nil {
		data, err = readBounded(path, limit)
	}
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("input %s: %w", input, err), "")
	}
	return data, nil
}

// inCheckout tells whether path is in the checkout, or a link on the way to it
// leads there.
func inCheckout(dir, path string) bool {
	within := func(dir, path string) bool {
		rel, err := filepath.Rel(dir, path)
		return err == nil && filepath.IsLocal(rel)
	}
	if within(dir, path) {
		return true
	}
	dir, errDir := filepath.EvalSymlinks(dir)
	path, errPath := filepath.EvalSymlinks(path)
	return errDir == nil && errPath == nil && within(dir, path)
}

// readBounded never returns nil for a file that could be read.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}
