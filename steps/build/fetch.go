package build

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/buildkit/docker"
	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/image"
)

// target is how an image comes from a builder into the layout.
type target struct {
	export client.ExportEntry
	// fetch names what export made, in the layout.
	fetch func(ctx context.Context, response map[string]string) (v1.Descriptor, error)
	// clean takes away what was made for the way; nil for nothing.
	clean func(context.Context) error
	// normal makes of that what our own engine would have made; nil where it did.
	normal func(ctx context.Context, made v1.Descriptor, bases []baseImage) (v1.Descriptor, error)
}

// target returns how n's image comes into b's layout.
func (n *node) target(b *building) target {
	t := target{
		export: layoutExport(b.store, b.plan),
		fetch:  func(_ context.Context, response map[string]string) (v1.Descriptor, error) { return exported(response) },
	}
	if n.Dates {
		return t
	}
	normal := image.Normalization{Date: b.plan.date, Memory: b.memory, Pack: n.Classic()}
	t.normal = func(ctx context.Context, made v1.Descriptor, bases []baseImage) (v1.Descriptor, error) {
		normal.Base = foundation(bases)
		if normal.Pack { // the engine's exporter knows none
			normal.Annotations = annotationsOf(b.plan.annotations, exptypes.AnnotationManifest, made.Platform)
		}
		return image.Normalize(ctx, b.layout, made, normal)
	}
	if !n.Classic() {
		t.export = layoutExport(b.incoming, b.plan)
		return t
	}
	// A Docker Engine with the classic image store gives an image away as docker
	// save does.
	saved := n.Engine.NewImage()
	t.export = saved.Export()
	t.fetch = func(ctx context.Context, _ map[string]string) (v1.Descriptor, error) { return b.load(ctx, saved) }
	t.clean = saved.Remove
	return t
}

// load copies what an engine made into the layout.
func (b *building) load(ctx context.Context, made *docker.Image) (v1.Descriptor, error) {
	none := v1.Descriptor{}
	saved, err := made.Save(ctx)
	if err != nil {
		return none, err
	}
	defer saved.Close()
	// An archive says at its end what is in it, and so is read twice. What a killed
	// build leaves in the layout, the next one sweeps.
	f, err := os.CreateTemp(b.layout.Dir(), durable.TempPrefix+"*")
	if err != nil {
		return none, err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, saved)
	if err := errors.Join(err, f.Close()); err != nil {
		return none, fmt.Errorf("save the image that the Docker Engine built: %w", err)
	}
	opened, err := image.Open(ctx, f.Name(), image.Options{})
	if err != nil {
		return none, err
	}
	defer opened.Close()
	images, err := image.Import(ctx, b.layout, opened)
	if err != nil {
		return none, err
	}
	return images[0], nil
}

// foundation tells what an image for a platform was built on, by bases.
func foundation(bases []baseImage) func(v1.Platform) *v1.ConfigFile {
	return func(p v1.Platform) *v1.ConfigFile {
		var final []*v1.ConfigFile
		var of []ocispecs.Platform
		for _, base := range bases {
			if base.Final {
				final, of = append(final, base.Config), append(of, base.Platform)
			}
		}
		if i := fitting(of, ociPlatform(p)); i >= 0 {
			return final[i]
		}
		return nil
	}
}

func ociPlatform(p v1.Platform) ocispecs.Platform {
	return ocispecs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion}
}

// exported is the root that an exporter's answer speaks of.
func exported(response map[string]string) (v1.Descriptor, error) {
	raw, err := base64.StdEncoding.DecodeString(response[exptypes.ExporterImageDescriptorKey])
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("the builder's answer: %w", err)
	}
	var root v1.Descriptor
	if err := json.Unmarshal(raw, &root); err != nil {
		return v1.Descriptor{}, fmt.Errorf("the builder's answer: %w", err)
	}
	// What the exporter notes beside it (dates, names) is not part of the image.
	return v1.Descriptor{MediaType: root.MediaType, Digest: root.Digest, Size: root.Size}, nil
}
