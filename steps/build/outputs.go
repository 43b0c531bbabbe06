package build

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/distribution/reference"

	"github.com/imagewright/imagewright/internal/fault"
)

const (
	// standardOutput stands for it as a dest.
	standardOutput = "-"
	// loadFile is what input load makes, in the workspace.
	loadFile = "docker.tar"
)

// outputs are the results beside the layout. Archives of the image are written
// here from the finished layout, so that their bytes follow from its digest and
// no layer is exported twice; BuildKit exports the files alone (local, tar).
type outputs struct {
	all   []output
	names []reference.NamedTagged // of the image, from the input tags
	notes []string

	workspace string
	stdout    io.Writer // set by exports
	mu        sync.Mutex
	partial   []*partialTar // archives that BuildKit is writing
	made      []string      // directories
}

// output is one of them.
type output struct {
	kind  string // docker, oci, local or tar
	dest  string // absolute path, or standardOutput
	isDir bool   // dest is a directory
	names []reference.NamedTagged
	attrs map[string]string // for BuildKit's exporter
}

// parseOutputs reads the inputs tags, outputs, push and load for an image of so
// many platforms. Errors are usage errors.
func parseOutputs(in Results, platforms int, s surroundings) (*outputs, error) {
	names, err := imageNames(in.Tags)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("input tags: %w", err), "want REPOSITORY:TAG")
	}
	o := &outputs{names: names, workspace: s.workspace}
	load := in.Load
	for i, record := range in.Outputs {
		refuse := func(err error) error {
			return fault.Usage(fmt.Errorf("input outputs, entry %d: %w", i+1, err), "")
		}
		parsed, err := parseOutput(record, names)
		if err != nil {
			return nil, refuse(err)
		}
		if parsed.kind == "docker" && parsed.dest == "" { // what buildx loads into an engine
			load = true
			continue
		}
		if note := parsed.note(); note != "" {
			o.notes = append(o.notes, "input outputs: "+note)
			continue
		}
		if err := o.add(parsed, platforms, s); err != nil {
			return nil, refuse(err)
		}
	}
	if in.Push {
		o.notes = append(o.notes, "input push: "+pushNote(names))
	}
	if load {
		archive := output{kind: "docker", dest: filepath.Join(s.workspace, loadFile), names: names}
		if err := o.add(archive, platforms, s); err != nil {
			return nil, fault.Usage(fmt.Errorf("input load: %w", err), "")
		}
		o.notes = append(o.notes, "input load: build talks to no Docker engine; this loads the image: docker load --input "+s.shown(archive.dest))
	}
	return o, nil
}

// add takes out as one more output, to a place of its own.
func (o *outputs) add(out output, platforms int, s surroundings) error {
	if out.kind == "docker" && platforms > 1 {
		return fmt.Errorf("docker load takes one platform, and %d are built; want type=oci", platforms)
	}
	if out.dest != standardOutput {
		var err error
		if out.dest, err = s.destination(out.dest, out.isDir); err != nil {
			return fmt.Errorf("dest: %w", err)
		}
	}
	if slices.ContainsFunc(o.all, func(other output) bool { return other.dest == out.dest }) {
		return errors.New("dest: another output goes there already")
	}
	o.all = append(o.all, out)
	return nil
}

// toStdout tells whether an output goes to standard output, which then holds
// nothing else.
func (o *outputs) toStdout() bool {
	return slices.ContainsFunc(o.all, func(out output) bool { return out.dest == standardOutput })
}

// warnings say which step does what was asked for and is not build's to do.
func (o *outputs) warnings() []string { return slices.Compact(slices.Clone(o.notes)) }

// references are the image's names in full: ghcr.io/acme/app:1.2.
func (o *outputs) references() []string {
	var all []string
	for _, name := range o.names {
		all = append(all, name.String())
	}
	return all
}

// outputAttrs are the attributes that are accepted, by type. BuildKit would not
// mind a misspelt one. Of some only the value is accepted that says what is done
// in any case: an image is the same in the layout and in every archive.
func outputAttrs(kind string) map[string]checkAttr {
	image := map[string]checkAttr{
		"name": notEmpty, "compression": oneOf("gzip"), "oci-mediatypes": oneOf("true"), "rewrite-timestamp": oneOf("true"),
	}
	files := map[string]checkAttr{"dest": notEmpty, "platform-split": isBool, "attestation-prefix": notEmpty}
	switch kind {
	case "docker":
		image["dest"], image["tar"] = notEmpty, oneOf("true")
		return image
	case "oci":
		image["dest"], image["tar"] = notEmpty, isBool
		return image
	case "image", "registry":
		for _, key := range []string{"push", "push-by-digest", "name-canonical", "registry.insecure"} {
			image[key] = isBool
		}
		return image
	case "local":
		files["mode"] = oneOf("copy", "delete")
		return files
	case "tar":
		return files
	}
	return nil
}

// parseOutput reads one record. Without a name of its own, the output has names.
func parseOutput(record string, names []reference.NamedTagged) (output, error) {
	switch { // as buildx has it
	case record == standardOutput:
		return output{kind: "tar", dest: standardOutput}, nil
	case !strings.Contains(record, "="):
		return output{kind: "local", dest: record, isDir: true}, nil
	}
	attrs, err := csvAttrs(record)
	if err != nil {
		return output{}, err
	}
	out := output{kind: attrs["type"], dest: attrs["dest"], names: names, attrs: attrs}
	delete(attrs, "type")
	if err := checkAttrs(out.kind, attrs, outputAttrs(out.kind), "docker, oci, local, tar, image or registry"); err != nil {
		return out, err
	}
	delete(attrs, "dest")
	if name := attrs["name"]; name != "" {
		if out.names, err = imageNames(strings.Split(name, ",")); err != nil {
			return out, fmt.Errorf("attribute name: %w", err)
		}
	}
	out.isDir = out.kind == "local" || out.kind == "oci" && isFalse(attrs["tar"])
	switch {
	case out.dest == "" && (out.kind == "oci" || out.kind == "local" || out.kind == "tar"):
		return out, errors.New("attribute dest is missing")
	case out.dest == standardOutput && out.isDir:
		return out, errors.New("attribute dest: a directory does not fit on standard output")
	}
	return out, nil
}
