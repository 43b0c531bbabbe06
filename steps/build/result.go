package build

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/docker/go-units"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

const stepName = "build"

// result is the image that a build made.
type result struct {
	Root      v1.Descriptor // a manifest, or an index of several
	Images    []v1.Descriptor
	ID        v1.Hash // what docker images shows
	Size      int64   // compressed bytes of configs and layers
	DiffIDs   []v1.Hash
	Platforms []string
	Materials []record.Material
	Said      []attested
	Took      time.Duration
	Steps     int
	Cached    int

	response map[string]string // of the builder
}

// readResult finds root in layout: images that machines of wanted can run, in
// that order; of any platform when none is wanted.
func readResult(root v1.Descriptor, layout *image.Layout, wanted []ocispecs.Platform) (result, error) {
	r := result{Root: root, ID: root.Digest}
	var err error
	if r.Images, _, err = image.Split(layout, root); err != nil {
		return r, err
	}
	if len(r.Images) < len(wanted) { // a frontend that a Dockerfile names may do as it likes
		return r, fault.Failed(fmt.Errorf("images for %d platforms were to be built, and there are %d", len(wanted), len(r.Images)),
			"see whether the frontend that the Dockerfile's # syntax= line names builds for several platforms")
	}
	sizes := map[v1.Hash]int64{} // a layer that two platforms share counts once
	for i, desc := range r.Images {
		built, err := layout.Image(desc.Digest)
		if err != nil {
			return r, err
		}
		manifest, err := built.Manifest()
		if err != nil {
			return r, err
		}
		config, err := built.ConfigFile()
		if err != nil {
			return r, err
		}
		for _, blob := range append(manifest.Layers, manifest.Config) {
			sizes[blob.Digest] = blob.Size
		}
		r.DiffIDs = append(r.DiffIDs, config.RootFS.DiffIDs...)
		made := ocispecs.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
		if i < len(wanted) {
			if err := checkPlatform(made, wanted[i]); err != nil {
				return r, err
			}
		}
		r.Platforms = append(r.Platforms, platforms.Format(made))
		if len(r.Images) == 1 {
			r.ID, r.Root.Platform = manifest.Config.Digest, config.Platform()
		}
	}
	for _, size := range sizes {
		r.Size += size
	}
	return r, nil
}

// checkPlatform refuses an image for another platform than was wanted: a base
// image that is no index comes as it is, whatever it was made for; and its config
// may say anything.
func checkPlatform(made, wanted ocispecs.Platform) error {
	if platforms.Only(wanted).Match(platforms.Normalize(made)) {
		return nil
	}
	return fault.Failed(fmt.Errorf("the image is for %.100q, which is the wrong architecture: %s was to be built", platforms.Format(made), platforms.Format(wanted)),
		"its base image is not made for that platform")
}

// lastDigest is that of the image which workspace holds, "" where there is none.
// Only a record of a newer version is an error; a damaged one will be replaced.
func lastDigest(workspace string) (string, error) {
	last, err := record.Read[record.Build](workspace, stepName)
	if _, newer := errors.AsType[*record.NewerError](err); newer {
		return "", err
	}
	return last.Image.Digest, nil
}

// keep makes r the workspace's image: index.json, then what is attested of it,
// then the record, then what no longer belongs to it goes. Whatever fails, the
// last good state is still there: readers follow the record, and nothing it
// reaches is removed before the new one stands. Only a statement whose name
// stays is replaced just before: it tells by itself of which image it speaks.
func (r result) keep(workspace string, layout *image.Layout, written *record.Build) error {
	if err := layout.SetRoot(r.Root); err != nil {
		return err
	}
	written.Image = record.Image{
		Digest:    r.Root.Digest.String(),
		MediaType: string(r.Root.MediaType),
		Size:      r.Size,
		Platforms: r.Platforms,
	}
	reports := filepath.Join(workspace, "reports")
	if err := writeStatements(reports, r.Said); err != nil {
		return err
	}
	for _, a := range r.Said {
		written.Attestations = append(written.Attestations, a.recorded)
	}
	if err := record.Write(workspace, stepName, written); err != nil {
		return err
	}
	return errors.Join(removeOldStatements(reports, r.Said), layout.Sweep(r.Root.Digest))
}

// plainLayers is where the engine leaves layers uncompressed, for scan.
func plainLayers(job *step.Job) string { return filepath.Join(job.Workspace, "layers") }

// sweepPlainLayers removes those that are no layers of r, which is recorded by
// now. What stays only takes up room, until the next build.
func (r result) sweepPlainLayers(job *step.Job) {
	layers, err := image.OpenPlainLayers(plainLayers(job))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		defer layers.Close()
		err = layers.Sweep(func(diffID v1.Hash) bool { return slices.Contains(r.DiffIDs, diffID) })
	}
	if err != nil {
		job.Log.Debug("uncompressed layers of an older image may be left", "error", err)
	}
}

// tell hands r to the pipeline and to people.
func (r result) tell(job *step.Job, changed bool) error {
	if err := r.output(job, changed); err != nil {
		return err
	}
	job.Summary(fmt.Sprintf("### Built image\n\n| | |\n|---|---|\n| digest | `%s` |\n| platform | %s |\n| size | %s |\n| time | %.1f s |\n| steps | %d, of them %d cached |\n\n",
		r.Root.Digest, inTable(r.platformList(", ")), units.HumanSize(float64(r.Size)), r.Took.Seconds(), r.Steps, r.Cached))
	job.Log.Info("built", "digest", r.Root.Digest.String(), "platform", r.platformList(","), "size", units.HumanSize(float64(r.Size)),
		"seconds", fmt.Sprintf("%.1f", r.Took.Seconds()), "steps", r.Steps, "cached", r.Cached, "changed", changed)
	return nil
}

// output sets the step's outputs.
func (r result) output(job *step.Job, changed bool) error {
	metadata, err := r.metadata()
	if err != nil {
		return err
	}
	job.Output("digest", r.Root.Digest.String())
	job.Output("imageid", r.ID.String())
	job.Output("metadata", metadata)
	job.Output("changed", strconv.FormatBool(changed))
	return nil
}

// platformList is for people: an image's config may say anything.
func (r result) platformList(separator string) string {
	return ci.Printable(strings.Join(r.Platforms, separator))
}

// inTable is text as a cell of a Markdown table.
func inTable(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// metadata is the builder's answer as buildx's --metadata-file has it: values
// that are encoded JSON are JSON. What it says of the image is r's, which may be
// made of several answers.
func (r result) metadata() (string, error) {
	out := map[string]any{}
	for key, value := range r.response {
		out[key] = value
		raw, err := base64.StdEncoding.DecodeString(value)
		if err == nil && json.Valid(raw) && len(raw) > 0 && raw[0] == '{' {
			out[key] = json.RawMessage(raw)
		}
	}
	out[exptypes.ExporterImageDigestKey] = r.Root.Digest
	out[exptypes.ExporterImageDescriptorKey] = r.Root
	delete(out, exptypes.ExporterImageConfigDigestKey)
	if len(r.Images) == 1 {
		out[exptypes.ExporterImageConfigDigestKey] = r.ID
	}
	text, err := json.Marshal(out) // keys sorted
	return string(text), err
}
