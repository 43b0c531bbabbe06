package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	dockerManifestFile = "manifest.json"
	// maxDockerImages bounds the images of one archive of docker save.
	maxDockerImages = 1 << 10
)

// dockerEntry is an image in the manifest.json of docker save.
// Format: https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md#combined-image-json--filesystem-changeset-format
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerEntries reads manifest.json. Absent is fs.ErrNotExist.
func (a *archive) dockerEntries() ([]dockerEntry, error) {
	raw, err := a.read(dockerManifestFile)
	if err != nil {
		return nil, err
	}
	var entries []dockerEntry
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, a.where().damagedBy(err, dockerManifestFile, "cannot be read")
	}
	if len(entries) > maxDockerImages {
		return nil, a.where().damaged(dockerManifestFile, "names more than %d images", maxDockerImages)
	}
	return entries, nil
}

// dockerImage is one image of an archive of docker save. Such an archive has
// no manifest, so one is made: of the config as it is, and the layers as they
// lie there, mostly uncompressed. Its digest is the same for the same image,
// but is not the one that a registry would have.
type dockerImage struct {
	*archive
	desc   v1.Descriptor
	raw    []byte
	stored map[v1.Hash]string // digest of a blob → file
}

// openDockerImage reads the config; of layers it reads only those that were
// compressed, because nothing else tells their digests.
func (a *archive) openDockerImage(ctx context.Context, e dockerEntry) (*dockerImage, error) {
	d := &dockerImage{archive: a, stored: map[v1.Hash]string{}}
	raw, config, err := d.readConfig(e.Config)
	if err != nil {
		return nil, err
	}
	if len(config.RootFS.DiffIDs) != len(e.Layers) {
		return nil, a.where().damaged(dockerManifestFile, "names %d layers, the config %d", len(e.Layers), len(config.RootFS.DiffIDs))
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: make([]v1.Descriptor, len(e.Layers))}
	m.Config = descriptorOf(types.OCIConfigJSON, raw)
	d.stored[m.Config.Digest] = e.Config
	for i, file := range e.Layers {
		desc, err := a.describeLayer(ctx, file, config.RootFS.DiffIDs[i])
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(e.Layers), a.where().unread(err, fmt.Sprintf("%q", file)))
		}
		m.Layers[i] = desc
		d.stored[desc.Digest] = file
	}
	if d.raw, err = json.Marshal(m); err != nil {
		return nil, err
	}
	d.desc = descriptorOf(types.OCIManifestSchema1, d.raw)
	return d, nil
}

func (d *dockerImage) readConfig(file string) ([]byte, *v1.ConfigFile, error) {
	what := fmt.Sprintf("config %q", file)
	raw, err := d.read(file)
	if err != nil {
		return nil, nil, d.where().unread(err, what)
	}
	// docker save calls the file after the image's ID, which is its digest.
	hex := strings.TrimPrefix(strings.TrimSuffix(path.Base(file), ".json"), "sha256:")
	if got := descriptorOf("", raw).Digest; isBlobName(hex) && hex != got.Hex {
		return nil, nil, d.where().damaged(what, "has another content: got %s", got)
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, d.where().damagedBy(err, what, "cannot be read")
	}
	return raw, config, nil
}

// describeLayer returns what a manifest would say of the layer in file.
func (a *archive) describeLayer(ctx context.Context, file string, diffID v1.Hash) (v1.Descriptor, error) {
	r, err := a.open(file)
	if err != nil {
		return v1.Descriptor{}, err
	}
	packed, err := compressionAt(r)
	if err != nil {
		return v1.Descriptor{}, err
	}
	desc := v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: diffID, Size: r.Size()}
	switch packed {
	case plain:
		return desc, nil
	case gzipped:
		desc.MediaType = types.OCILayer
	case zstandard:
		desc.MediaType = types.OCILayerZStd
	default:
		return desc, a.where().damaged(fmt.Sprintf("%q", file), "is compressed with xz or bzip2; gzip and zstd are supported")
	}
	desc.Digest, _, err = v1.SHA256(contextReader{ctx, r})
	return desc, err
}

func (d *dockerImage) blob(desc v1.Descriptor) (io.ReadCloser, error) {
	file, ok := d.stored[desc.Digest]
	if !ok {
		return nil, fs.ErrNotExist
	}
	r, err := d.open(file)
	if err != nil {
		return nil, err
	}
	return section{r}, nil
}

func (d *dockerImage) manifest(desc v1.Descriptor) ([]byte, blobs, error) {
	if desc.Digest != d.desc.Digest {
		return nil, nil, fs.ErrNotExist
	}
	return d.raw, d, nil
}
