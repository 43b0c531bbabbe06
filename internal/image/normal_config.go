package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// rewrite stores the manifest and the config of view with other layers.
func (n Normalization) rewrite(layout *Layout, view *imageView, layers []packed, base *v1.ConfigFile) (v1.Descriptor, error) {
	raw, err := view.config()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if raw, err = n.config(raw, layers, base); err != nil {
		return v1.Descriptor{}, view.from.where().damagedBy(err, "config "+view.doc.Config.Digest.String(), "cannot be used")
	}
	config, err := layout.putRaw(types.OCIConfigJSON, raw)
	if err != nil {
		return v1.Descriptor{}, err
	}
	m := ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest, Config: ociDescriptor(config), Annotations: view.doc.Notes}
	m.SchemaVersion = 2
	if len(n.Annotations) > 0 {
		m.Annotations = map[string]string{}
		maps.Copy(m.Annotations, view.doc.Notes)
		maps.Copy(m.Annotations, n.Annotations)
	}
	for _, l := range layers {
		m.Layers = append(m.Layers, ociDescriptor(l.Descriptor))
	}
	if raw, err = marshalDocument(m); err != nil {
		return v1.Descriptor{}, err
	}
	return layout.putRaw(types.OCIManifestSchema1, raw)
}

// marshalDocument writes a manifest or an index as BuildKit does, so that equal
// ones are equal bytes whoever made them.
func marshalDocument(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }

func ociDescriptor(d v1.Descriptor) ocispecs.Descriptor {
	out := ocispecs.Descriptor{
		MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size,
		URLs: d.URLs, Annotations: d.Annotations, ArtifactType: d.ArtifactType,
	}
	if p := d.Platform; p != nil {
		out.Platform = &ocispecs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
	}
	return out
}

// ociLayer is OCI's name of a layer's media type.
func ociLayer(kind types.MediaType) types.MediaType {
	switch kind {
	case types.DockerLayer:
		return types.OCILayer
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer
	}
	return kind
}

// config returns the image config raw with the diff IDs of layers and the dates
// that the embedded engine would have given it. All other fields stay.
func (n Normalization) config(raw []byte, layers []packed, base *v1.ConfigFile) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, errors.New("it is null")
	}
	var known struct {
		Created *time.Time         `json:"created"`
		History []ocispecs.History `json:"history"`
	}
	if err := json.Unmarshal(raw, &known); err != nil {
		return nil, err
	}
	rootFS := ocispecs.RootFS{Type: "layers"}
	for _, l := range layers {
		rootFS.DiffIDs = append(rootFS.DiffIDs, digest.Digest(l.diffID.String()))
	}
	history, err := n.dateHistory(known.History, base)
	if err != nil {
		return nil, err
	}
	// A Dockerfile's image takes its date from its history; another frontend
	// may have set one, which is kept if it is old enough.
	created := known.Created
	switch own := lastDate(known.History); {
	case created == nil || own != nil && own.Equal(*created):
		created = lastDate(history)
	case created.After(n.Date):
		created = &n.Date
	}
	for name, value := range map[string]any{"rootfs": rootFS, "history": history, "created": created} {
		if fields[name], err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	return json.Marshal(fields) // sorted
}

// dateHistory gives every entry of an image's history n.Date, but for those at
// its beginning that base has too: these keep theirs.
//
// The embedded engine does so in two parts: internal/buildkit dates what has no
// date, and BuildKit clamps what is later, from the first entry on that is not
// exactly the base's.
// https://github.com/moby/buildkit/blob/v0.34.2/exporter/containerimage/writer.go#L785
func (n Normalization) dateHistory(history []ocispecs.History, base *v1.ConfigFile) ([]ocispecs.History, error) {
	var below []ocispecs.History
	if base != nil {
		raw, err := json.Marshal(base.History)
		if err == nil {
			err = json.Unmarshal(raw, &below)
		}
		if err != nil {
			return nil, fmt.Errorf("history of the base image: %w", err)
		}
	}
	dated, diverged := slices.Clone(history), false
	for i := range dated {
		if i >= len(below) || !sameStep(dated[i], below[i]) {
			below = nil // all that follows is the image's own
			dated[i].Created = &n.Date
			continue
		}
		dated[i].Created = below[i].Created
		diverged = diverged || isUndated(below[i].Created)
		if diverged && (isUndated(dated[i].Created) || dated[i].Created.After(n.Date)) {
			dated[i].Created = &n.Date
		}
	}
	return dated, nil
}

// isUndated also holds for the zero time, which is how v1.ConfigFile reads none.
func isUndated(t *time.Time) bool { return t == nil || t.IsZero() }

// sameStep tells whether two entries differ in nothing but their dates.
func sameStep(a, b ocispecs.History) bool {
	a.Created, b.Created = nil, nil
	return reflect.DeepEqual(a, b)
}

// lastDate is that of the last entry that has one.
func lastDate(history []ocispecs.History) *time.Time {
	for _, h := range slices.Backward(history) {
		if h.Created != nil {
			return h.Created
		}
	}
	return nil
}
