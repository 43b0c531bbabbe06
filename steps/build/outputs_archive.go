package build

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"time"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/image"
)

// archived is an image as it goes into an archive: a layout, which for Docker
// has another table of contents beside index.json. An engine that keeps
// manifests (containerd's store) finds the image by the digest it has here.
//
// Formats: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
// and https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
type archived struct {
	from   *image.Layout
	root   v1.Descriptor
	index  []byte
	docker []byte // manifest.json; nil for none
	blobs  []v1.Descriptor
}

// newArchived collects what the image root of layout needs. No layer is read.
func newArchived(layout *image.Layout, root v1.Descriptor, out output) (*archived, error) {
	a := &archived{from: layout, root: root}
	var err error
	if a.blobs, err = layout.Contents(root); err != nil {
		return nil, err
	}
	if a.index, err = namedIndex(root, out.names); err != nil {
		return nil, err
	}
	if out.kind == "docker" {
		a.docker, err = dockerContents(layout, root, out.names)
	}
	return a, err
}

func manifestOf(layout *image.Layout, desc v1.Descriptor) (*v1.Manifest, error) {
	img, err := layout.Image(desc.Digest)
	if err != nil {
		return nil, err
	}
	return img.Manifest()
}

// namedIndex is the index.json that gives root its names, one entry each, in the
// annotations that containerd and skopeo look for.
func namedIndex(root v1.Descriptor, names []reference.NamedTagged) ([]byte, error) {
	bare := v1.Descriptor{MediaType: root.MediaType, Digest: root.Digest, Size: root.Size, Platform: root.Platform}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if len(names) == 0 {
		index.Manifests = []v1.Descriptor{bare}
	}
	for _, name := range names {
		named := bare
		named.Annotations = map[string]string{
			"io.containerd.image.name":          name.String(),
			"org.opencontainers.image.ref.name": name.Tag(),
		}
		index.Manifests = append(index.Manifests, named)
	}
	return json.Marshal(index)
}

// dockerContents is the manifest.json that docker load reads.
func dockerContents(layout *image.Layout, root v1.Descriptor, names []reference.NamedTagged) ([]byte, error) {
	if root.MediaType.IsIndex() {
		return nil, errors.New("docker load takes one platform; want type=oci")
	}
	manifest, err := manifestOf(layout, root)
	if err != nil {
		return nil, err
	}
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	image := entry{Config: blobPath(manifest.Config.Digest), Layers: []string{}}
	for _, name := range names {
		image.RepoTags = append(image.RepoTags, reference.FamiliarString(name)) // as docker save spells them
	}
	for _, layer := range manifest.Layers {
		image.Layers = append(image.Layers, blobPath(layer.Digest))
	}
	return json.Marshal([]entry{image})
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// writeTar writes the archive. The same image and names are the same bytes.
func (a *archived) writeTar(ctx context.Context, w io.Writer) error {
	archive := tar.NewWriter(w)
	put := func(name string, size int64, content io.Reader) error {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.Copy(archive, content)
		return err
	}
	documents := []struct {
		name string
		text []byte
	}{{ocispecs.ImageLayoutFile, []byte(`{"imageLayoutVersion":"` + ocispecs.ImageLayoutVersion + `"}`)}, {ocispecs.ImageIndexFile, a.index}, {"manifest.json", a.docker}}
	for _, d := range documents {
		if d.text == nil {
			continue
		}
		if err := put(d.name, int64(len(d.text)), bytes.NewReader(d.text)); err != nil {
			return err
		}
	}
	for _, desc := range a.blobs {
		err := a.read(ctx, desc, func(r io.Reader) error { return put(blobPath(desc.Digest), desc.Size, r) })
		if err != nil {
			return err
		}
	}
	return archive.Close()
}

// writeLayout makes the image the only one of the layout in dir. What else lies
// there stays.
func (a *archived) writeLayout(ctx context.Context, dir string) error {
	to, err := image.CreateLayout(dir)
	if err != nil {
		return err
	}
	for _, desc := range a.blobs {
		if err := a.read(ctx, desc, func(r io.Reader) error { return to.Put(desc, r) }); err != nil {
			return err
		}
	}
	if err := to.SetRoot(a.root); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, ocispecs.ImageIndexFile), 0o644, func(w io.Writer) error {
		_, err := w.Write(a.index)
		return err
	})
}

func (a *archived) read(ctx context.Context, desc v1.Descriptor, use func(io.Reader) error) error {
	r, err := a.from.Blob(desc)
	if err != nil {
		return err
	}
	defer r.Close()
	return use(untilDone{ctx, r})
}

// untilDone ends with its context.
type untilDone struct {
	context.Context
	io.Reader
}

// Read implements io.Reader.
func (u untilDone) Read(p []byte) (int, error) {
	if err := u.Err(); err != nil {
		return 0, context.Cause(u)
	}
	return u.Reader.Read(p)
}
