package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

// mergeSource is an image that another job built.
type mergeSource struct {
	given     string       // as the input has it
	workspace string       // that it lies in; "" where it lies in none
	build     record.Build // of that workspace; empty where there is none
	opened    *image.Opened
}

type mergeSources []*mergeSource

// openSources opens all sources, and reads what is recorded of them.
func (s *Step) openSources(ctx context.Context, job *step.Job) (all mergeSources, err error) {
	registry, err := s.newPuller(job)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeSources(all))
			all = nil
		}
	}()
	for _, given := range s.inputs.Sources {
		source, err := openMergeSource(ctx, given, job, registry)
		if err != nil {
			return all, err
		}
		all = append(all, source)
	}
	return all, nil
}

// openMergeSource opens the image that a job's workspace recorded, or whatever
// else given names: a layout, an archive, a reference.
func openMergeSource(ctx context.Context, given string, job *step.Job, registry image.Registry) (*mergeSource, error) {
	source, options := &mergeSource{given: given}, image.Options{Dir: job.Dir, Registry: registry}
	open := given
	if layout, workspace := findLayout(job.Abs(strings.TrimPrefix(given, "oci:"))); layout != "" {
		open, source.workspace = "oci:"+layout, workspace
	}
	if source.workspace != "" {
		var err error
		if source.build, err = record.Read[record.Build](source.workspace, stepName); err != nil {
			return nil, err
		}
		options.Name = source.build.Image.Digest
	}
	var err error
	source.opened, err = image.Open(ctx, open, options)
	return source, err
}

// findLayout returns the layout that path stands for, and the workspace it
// belongs to, if a build has left its record there. path may be a workspace,
// what has one in it, or the layout itself: an artifact is any of them, as it
// was uploaded. Both are empty for anything else.
func findLayout(path string) (layout, workspace string) {
	for _, dir := range []string{filepath.Join(path, "image"), filepath.Join(path, ".imagewright", "image"), path} {
		if !isFile(filepath.Join(dir, "oci-layout")) {
			continue
		}
		parent := filepath.Dir(dir)
		if filepath.Base(dir) == "image" && isFile(filepath.Join(parent, "record", stepName+".json")) {
			return dir, parent
		}
		return dir, ""
	}
	return "", ""
}

func isFile(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}
