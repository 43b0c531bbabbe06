package image

import (
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// isOCI tells whether the archive is, perhaps among other things, an OCI
// layout.
func (a *archive) isOCI() bool { return a.has(layoutFile) && a.has(indexFile) }

// ociArchive is an archive that holds an OCI layout.
type ociArchive struct{ *archive }

func (o ociArchive) blob(desc v1.Descriptor) (io.ReadCloser, error) {
	r, err := o.open("blobs/sha256/" + desc.Digest.Hex)
	if err != nil {
		return nil, err
	}
	return section{r}, nil
}

func (o ociArchive) manifest(desc v1.Descriptor) ([]byte, blobs, error) {
	r, err := o.blob(desc)
	if err != nil {
		return nil, nil, err
	}
	raw, err := readAtMost(r)
	return raw, o, err
}

// roots returns what its index.json names.
func (o ociArchive) roots() ([]v1.Descriptor, error) {
	version, err := o.read(layoutFile)
	if err == nil {
		err = checkLayoutVersion(o.where(), version)
	}
	if err != nil {
		return nil, o.where().unread(err, layoutFile)
	}
	raw, err := o.read(indexFile)
	if err != nil {
		return nil, o.where().unread(err, indexFile)
	}
	return parseRoots(o.where(), raw)
}
