package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/internal/record"
)

// pull fetches the pushed image by its digest, past everything that is on this
// machine already, and unpacks it for c.
func (d *demo) pull(ctx context.Context, c *container) (name.Digest, error) {
	pushed, err := record.Read[record.Push](d.workspace(), "push")
	if err != nil {
		return name.Digest{}, err
	}
	ref, err := name.NewDigest(d.repository() + "@" + pushed.Digest)
	if err != nil {
		return name.Digest{}, err
	}
	image, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return ref, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return ref, err
	}
	c.config = file.Config
	flat := mutate.Extract(image)
	defer flat.Close()
	return ref, unpack(flat, c.rootfs())
}

func (c *container) rootfs() string { return filepath.Join(c.dir, "rootfs") }

// unpack writes a flattened image below dir; a path or link that leads out of
// it is an error (os.Root).
func unpack(flat io.Reader, dir string) (err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for archive := tar.NewReader(flat); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(root, header, archive); err != nil {
			return fmt.Errorf("unpack %s: %w", header.Name, err)
		}
	}
}

func unpackEntry(root *os.Root, header *tar.Header, content io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
	if name == "" {
		return nil
	}
	// Most entries come after their folder; a look is cheaper than making sure.
	if parent := path.Dir(name); parent != "." {
		if _, err := root.Stat(parent); err != nil {
			if err := root.MkdirAll(parent, 0o755); err != nil {
				return err
			}
		}
	}
	switch header.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
	case tar.TypeSymlink:
		return errors.Join(root.Symlink(header.Linkname, name), root.Lchown(name, header.Uid, header.Gid))
	case tar.TypeLink:
		return root.Link(strings.TrimPrefix(path.Clean("/"+header.Linkname), "/"), name)
	case tar.TypeReg:
		file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		// Owner first: a change of owner drops setuid.
		return errors.Join(err, file.Chown(header.Uid, header.Gid), file.Chmod(fileMode(header)), file.Close())
	default:
		return nil // devices: runc makes those that a container needs
	}
	return errors.Join(root.Chown(name, header.Uid, header.Gid), root.Chmod(name, fileMode(header)))
}

func fileMode(header *tar.Header) fs.FileMode {
	const special = fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	return header.FileInfo().Mode() & (fs.ModePerm | special)
}
