package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// maxDocument bounds manifests, indexes, configs and index.json, in bytes.
	// Registries take no larger manifests
	// (https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-manifests).
	maxDocument = 4 << 20
	// maxDocuments bounds the manifests and configs of all images of one root
	// together, in bytes. One image has some 10 KB.
	maxDocuments = 64 << 20
	// maxDepth bounds indexes within indexes. Real ones are one deep.
	maxDepth = 4
	// maxManifests bounds the manifests one root may reach.
	maxManifests = 4096
)

// container is where manifests lie: a layout, an archive, a repository.
type container interface {
	// where names it in errors.
	where() place
	// manifest returns the document named desc.Digest, unverified and at most
	// one byte longer than maxDocument, and where the blobs it names are.
	// desc.Size may be unknownSize. Absent is fs.ErrNotExist.
	manifest(desc v1.Descriptor) ([]byte, blobs, error)
}

// blobs opens contents by digest, unverified. Absent is fs.ErrNotExist.
type blobs interface {
	blob(desc v1.Descriptor) (io.ReadCloser, error)
}

// document is a manifest or an index, read, verified and parsed.
type document struct {
	v1.Descriptor
	raw   []byte
	blobs blobs

	Config    *v1.Descriptor
	Layers    []v1.Descriptor
	Manifests []v1.Descriptor
	Subject   *v1.Descriptor
	Notes     map[string]string // its annotations; its descriptor has others
}

// readDocument reads the manifest or index named by desc. Its media type may
// be empty, then the document says what it is; its size may be unknownSize.
func readDocument(c container, desc v1.Descriptor) (*document, error) {
	what := "manifest " + desc.Digest.String()
	if err := checkHash(desc.Digest); err != nil {
		return nil, c.where().damagedBy(err, "", "a manifest cannot be read")
	}
	if desc.Size > maxDocument {
		return nil, c.where().damaged(what, "is %d bytes; at most %d are accepted", desc.Size, maxDocument)
	}
	raw, at, err := c.manifest(desc)
	if err != nil {
		return nil, c.where().unread(err, what)
	}
	if len(raw) > maxDocument {
		return nil, c.where().damaged(what, "is larger than the %d bytes accepted", maxDocument)
	}
	v := verified(io.NopCloser(bytes.NewReader(raw)), c.where(), what, desc.Digest, desc.Size)
	if err := v.finish(); err != nil {
		return nil, err
	}
	d := &document{Descriptor: desc, raw: raw, blobs: at}
	d.Size = int64(len(raw))
	if err := d.parse(); err != nil {
		return nil, c.where().damagedBy(err, what, "cannot be used")
	}
	return d, nil
}

func (d *document) parse() error {
	var content struct {
		MediaType types.MediaType  `json:"mediaType"`
		Config    *v1.Descriptor   `json:"config"`
		Layers    []v1.Descriptor  `json:"layers"`
		Manifests *[]v1.Descriptor `json:"manifests"`
		Subject   *v1.Descriptor   `json:"subject"`

		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(d.raw, &content); err != nil {
		return err
	}
	kind, err := mediaType(d.MediaType, content.MediaType, content.Manifests != nil)
	if err != nil {
		return err
	}
	// A document that is both would be one thing to the scanner and another
	// to the runtime: CVE-2021-41190.
	if kind.IsIndex() != (content.Manifests != nil) || kind.IsIndex() == (content.Config != nil) || kind.IsIndex() && content.Layers != nil {
		return fmt.Errorf("its fields are not those of its media type %q", kind)
	}
	d.MediaType, d.Config, d.Layers, d.Subject, d.Notes = kind, content.Config, content.Layers, content.Subject, content.Annotations
	if content.Manifests != nil {
		d.Manifests = *content.Manifests
	}
	for _, child := range d.children() {
		if err := checkHash(child.Digest); err != nil {
			return err
		}
		if child.Size < 0 {
			return errors.New("it names a blob of negative size")
		}
	}
	return nil
}

// mediaType decides what a document is from what its descriptor and it itself
// say: the two must agree, and at least the fields must tell.
func mediaType(named, own types.MediaType, index bool) (types.MediaType, error) {
	kind := named
	if kind == "" {
		kind = own
	}
	switch {
	case kind == "" && index:
		kind = types.OCIImageIndex
	case kind == "":
		kind = types.OCIManifestSchema1
	case kind.IsSchema1():
		return "", errors.New("it is of Docker's schema 1, which is not supported")
	case !kind.IsImage() && !kind.IsIndex():
		return "", errors.New("its media type is neither that of an image nor of an index")
	}
	if own != "" && own != kind {
		return "", fmt.Errorf("it calls itself %q where %q was promised", own, kind)
	}
	return kind, nil
}

// children are the descriptors of all that d needs.
func (d *document) children() []v1.Descriptor {
	if d.MediaType.IsIndex() {
		return d.Manifests
	}
	return append([]v1.Descriptor{*d.Config}, d.Layers...)
}

// descriptorOf is what names the document raw.
func descriptorOf(kind types.MediaType, raw []byte) v1.Descriptor {
	h, n, _ := v1.SHA256(bytes.NewReader(raw)) // a bytes.Reader does not fail
	return v1.Descriptor{MediaType: kind, Digest: h, Size: n}
}

// readAtMost reads r to its end, or one byte more than maxDocument: what is
// longer is refused by whoever asked.
func readAtMost(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, maxDocument+1))
}
