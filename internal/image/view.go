package image

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image returns the image whose manifest is the blob h. What is read through
// it is checked; see [Layout.Blob].
func (l *Layout) Image(h v1.Hash) (v1.Image, error) {
	return openImage(l, v1.Descriptor{Digest: h, Size: unknownSize})
}

// Index returns the index that is the blob h. What is read through it is
// checked; see [Layout.Blob].
func (l *Layout) Index(h v1.Hash) (v1.ImageIndex, error) {
	return openIndex(l, v1.Descriptor{Digest: h, Size: unknownSize})
}

// manifestView is what v1.Image and v1.ImageIndex have in common.
type manifestView struct {
	from container
	doc  *document
}

// MediaType implements v1.Image and v1.ImageIndex.
func (m *manifestView) MediaType() (types.MediaType, error) { return m.doc.MediaType, nil }

// Size implements v1.Image and v1.ImageIndex.
func (m *manifestView) Size() (int64, error) { return m.doc.Size, nil }

// Digest implements v1.Image and v1.ImageIndex.
func (m *manifestView) Digest() (v1.Hash, error) { return m.doc.Digest, nil }

// RawManifest implements v1.Image and v1.ImageIndex.
func (m *manifestView) RawManifest() ([]byte, error) { return bytes.Clone(m.doc.raw), nil }

// Descriptor is what names the document.
func (m *manifestView) Descriptor() (*v1.Descriptor, error) { return m.doc.Descriptor.DeepCopy(), nil }

// imageView is a v1.Image over verified content.
type imageView struct {
	manifestView
	config func() ([]byte, error)     // read once
	layers func() ([]v1.Layer, error) // made once, needs config
}

func openImage(from container, desc v1.Descriptor) (*imageView, error) {
	doc, err := readDocument(from, desc)
	if err != nil {
		return nil, err
	}
	if !doc.MediaType.IsImage() {
		return nil, fmt.Errorf("%s: %s is an index, not one image", from.where().name, desc.Digest)
	}
	i := &imageView{manifestView: manifestView{from: from, doc: doc}}
	i.config = sync.OnceValues(i.readConfig)
	i.layers = sync.OnceValues(i.makeLayers)
	return i, nil
}

func (i *imageView) readConfig() ([]byte, error) {
	desc, what := *i.doc.Config, "config "+i.doc.Config.Digest.String()
	if desc.Size > maxDocument {
		return nil, i.from.where().damaged(what, "is %d bytes; at most %d are accepted", desc.Size, maxDocument)
	}
	r, err := i.doc.blobs.blob(desc)
	if err != nil {
		return nil, i.from.where().unread(err, what)
	}
	defer r.Close()
	return io.ReadAll(verified(r, i.from.where(), what, desc.Digest, desc.Size))
}

func (i *imageView) makeLayers() ([]v1.Layer, error) {
	diffIDs, err := i.diffIDs()
	if err != nil {
		return nil, err
	}
	layers := make([]v1.Layer, len(i.doc.Layers))
	for n, desc := range i.doc.Layers {
		l := &layer{desc: desc, place: i.from.where(), blobs: i.doc.blobs}
		if diffIDs != nil {
			l.diffID = &diffIDs[n]
		}
		layers[n] = l
	}
	return layers, nil
}

// isImage tells images from other artifacts that use an image's manifest.
func (i *imageView) isImage() bool { return i.doc.Config.MediaType.IsConfig() }

// diffIDs returns one for each layer, or nil for what is no image.
func (i *imageView) diffIDs() ([]v1.Hash, error) {
	if !i.isImage() {
		return nil, nil
	}
	config, err := i.ConfigFile()
	if err != nil {
		return nil, err
	}
	ids, what := config.RootFS.DiffIDs, "config "+i.doc.Config.Digest.String()
	if len(ids) != len(i.doc.Layers) {
		return nil, i.from.where().damaged(what, "names %d layers, the manifest %d", len(ids), len(i.doc.Layers))
	}
	for _, id := range ids {
		if err := checkHash(id); err != nil {
			return nil, i.from.where().damagedBy(err, what, "cannot be used")
		}
	}
	return ids, nil
}

// RawConfigFile implements v1.Image.
func (i *imageView) RawConfigFile() ([]byte, error) {
	raw, err := i.config()
	return bytes.Clone(raw), err
}

// ConfigFile implements v1.Image.
func (i *imageView) ConfigFile() (*v1.ConfigFile, error) {
	raw, err := i.config()
	if err != nil {
		return nil, err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, i.from.where().damagedBy(err, "config "+i.doc.Config.Digest.String(), "cannot be read")
	}
	return config, nil
}

// ConfigName implements v1.Image.
func (i *imageView) ConfigName() (v1.Hash, error) { return i.doc.Config.Digest, nil }

// Manifest implements v1.Image.
func (i *imageView) Manifest() (*v1.Manifest, error) { return partial.Manifest(i) }

// Layers implements v1.Image.
func (i *imageView) Layers() ([]v1.Layer, error) {
	layers, err := i.layers()
	return slices.Clone(layers), err
}

// LayerByDigest also finds the config, which pushers send like a layer.
func (i *imageView) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	if h == i.doc.Config.Digest {
		return partial.ConfigLayer(i)
	}
	layers, err := i.layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		if d, err := l.Digest(); err == nil && d == h {
			return l, nil
		}
	}
	return nil, i.from.where().damaged("manifest "+i.doc.Digest.String(), "names no layer %s", h)
}

// LayerByDiffID implements v1.Image.
func (i *imageView) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	layers, err := i.layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		if d, err := l.DiffID(); err == nil && d == h {
			return l, nil
		}
	}
	return nil, i.from.where().damaged("config "+i.doc.Config.Digest.String(), "names no layer %s", h)
}

// indexView is a v1.ImageIndex over verified content.
type indexView struct{ manifestView }

func openIndex(from container, desc v1.Descriptor) (*indexView, error) {
	doc, err := readDocument(from, desc)
	if err != nil {
		return nil, err
	}
	if !doc.MediaType.IsIndex() {
		return nil, fmt.Errorf("%s: %s is one image, not an index", from.where().name, desc.Digest)
	}
	return &indexView{manifestView{from: from, doc: doc}}, nil
}

// IndexManifest implements v1.ImageIndex.
func (x *indexView) IndexManifest() (*v1.IndexManifest, error) {
	return v1.ParseIndexManifest(bytes.NewReader(x.doc.raw))
}

// Image implements v1.ImageIndex.
func (x *indexView) Image(h v1.Hash) (v1.Image, error) {
	desc, err := x.child(h)
	if err != nil {
		return nil, err
	}
	return openImage(x.from, desc)
}

// ImageIndex implements v1.ImageIndex.
func (x *indexView) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	desc, err := x.child(h)
	if err != nil {
		return nil, err
	}
	return openIndex(x.from, desc)
}

func (x *indexView) child(h v1.Hash) (v1.Descriptor, error) {
	for _, d := range x.doc.Manifests {
		if d.Digest == h {
			return d, nil
		}
	}
	return v1.Descriptor{}, x.from.where().damaged("index "+x.doc.Digest.String(), "names no manifest %s", h)
}
