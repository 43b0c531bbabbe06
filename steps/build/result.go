package build

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/platforms"
	"github.com/docker/go-units"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

const stepName = "build"

// result is the image that a build made.
type result struct {
	Root     v1.Descriptor
	Config   v1.Hash
	Size     int64 // compressed bytes of config and layers
	Platform string
	Took     time.Duration
	Steps    int
	Cached   int
}

// readResult finds what response speaks of in layout: an image that machines of
// platform can run.
func readResult(response map[string]string, layout *image.Layout, platform string) (result, error) {
	raw, err := base64.StdEncoding.DecodeString(response[exptypes.ExporterImageDescriptorKey])
	if err != nil {
		return result{}, fmt.Errorf("the engine's answer: %w", err)
	}
	var root v1.Descriptor
	if err := json.Unmarshal(raw, &root); err != nil {
		return result{}, fmt.Errorf("the engine's answer: %w", err)
	}
	// What the exporter notes beside it (dates, names) is not part of the image.
	r := result{Root: v1.Descriptor{MediaType: root.MediaType, Digest: root.Digest, Size: root.Size}}
	if r.Root.MediaType != types.OCIManifestSchema1 {
		return r, fmt.Errorf("the build made a %s; one image for one platform is wanted", r.Root.MediaType)
	}
	built, err := layout.Image(root.Digest)
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
	r.Config, r.Size = manifest.Config.Digest, manifest.Config.Size
	for _, layer := range manifest.Layers {
		r.Size += layer.Size
	}
	// A base image that is no index comes as it is, whatever it was made for;
	// and its config may say anything.
	made := ocispecs.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
	if wanted, err := platforms.Parse(platform); err != nil || !platforms.Only(wanted).Match(platforms.Normalize(made)) {
		return r, fault.Failed(fmt.Errorf("the image is for %.100q, which is the wrong architecture: %s was to be built", platforms.Format(made), platform),
			"its base image is not made for this machine")
	}
	r.Root.Platform = config.Platform()
	r.Platform = platforms.Format(made)
	return r, nil
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

// keep makes r the workspace's image: index.json, then the record, then what no
// longer belongs to it goes. Whatever fails, the last good state is still there:
// readers follow the record, and nothing it reaches is removed before the new
// one stands.
func (r result) keep(workspace string, layout *image.Layout, f facts) error {
	if err := layout.SetRoot(r.Root); err != nil {
		return err
	}
	err := record.Write(workspace, stepName, &record.Build{
		Image: record.Image{
			Digest:    r.Root.Digest.String(),
			MediaType: string(r.Root.MediaType),
			Size:      r.Size,
			Platforms: []string{r.Platform},
		},
		Source: record.Source{Repository: f.Repository, Revision: f.Revision, Ref: f.Ref, Date: f.Date},
	})
	if err != nil {
		return err
	}
	return layout.Sweep(r.Root.Digest)
}

// tell hands r to the pipeline and to people.
func (r result) tell(job *step.Job, response map[string]string, changed bool) error {
	metadata, err := metadata(response)
	if err != nil {
		return err
	}
	job.Output("digest", r.Root.Digest.String())
	job.Output("imageid", r.Config.String())
	job.Output("metadata", metadata)
	job.Output("changed", strconv.FormatBool(changed))
	job.Summary(fmt.Sprintf("### Built image\n\n| | |\n|---|---|\n| digest | `%s` |\n| platform | %s |\n| size | %s |\n| time | %.1f s |\n| steps | %d, of them %d cached |\n\n",
		r.Root.Digest, r.Platform, units.HumanSize(float64(r.Size)), r.Took.Seconds(), r.Steps, r.Cached))
	job.Log.Info("built", "digest", r.Root.Digest.String(), "platform", r.Platform, "size", units.HumanSize(float64(r.Size)),
		"seconds", fmt.Sprintf("%.1f", r.Took.Seconds()), "steps", r.Steps, "cached", r.Cached, "changed", changed)
	_, err = fmt.Fprintln(job.Stdout, r.Root.Digest)
	return err
}

// metadata is the engine's answer as buildx's --metadata-file has it: values
// that are encoded JSON are JSON.
func metadata(response map[string]string) (string, error) {
	out := map[string]any{}
	for key, value := range response {
		out[key] = value
		raw, err := base64.StdEncoding.DecodeString(value)
		if err == nil && json.Valid(raw) && len(raw) > 0 && raw[0] == '{' {
			out[key] = json.RawMessage(raw)
		}
	}
	text, err := json.Marshal(out) // keys sorted
	return string(text), err
}
