// Package images makes images without a registry to pull from: a busybox, a
// Debian, and stand-ins for the bases that model Dockerfiles name. Tests and
// the demo use them; what takes long to make is kept in a cache folder.
package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time of every file and image made here: the same content has
// the same digest, today and tomorrow.
func epoch() time.Time { return time.Unix(1_700_000_000, 0).UTC() }

// searchPath is where the images' programs are.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Step is a layer and the words that history has for it.
type Step struct {
	CreatedBy string
	Layer     v1.Layer
}

// Compose stacks layers on a base (nil: scratch) into an OCI image for this
// machine's platform. Configure may change its configuration; nil leaves it.
func Compose(base v1.Image, steps []Step, configure func(*v1.Config)) (v1.Image, error) {
	image := base
	if image == nil {
		image = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	for _, step := range steps {
		var err error
		image, err = mutate.Append(image, mutate.Addendum{
			Layer:     step.Layer,
			MediaType: types.OCILayer,
			History:   v1.History{CreatedBy: step.CreatedBy, Created: v1.Time{Time: epoch()}},
		})
		if err != nil {
			return nil, fmt.Errorf("append layer %q: %w", step.CreatedBy, err)
		}
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Created = v1.Time{Time: epoch()}
	if configure != nil {
		configure(&file.Config)
	}
	return mutate.ConfigFile(image, file)
}

// WriteArchive writes image as a tar of an OCI layout, which keeps its digest.
func WriteArchive(file string, image v1.Image) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write OCI archive %s: %w", file, err)
		}
	}()
	dir, err := os.MkdirTemp(filepath.Dir(file), ".layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := WriteLayout(dir, image); err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	return errors.Join(tree{root: dir}.write(archive), archive.Close(), out.Close())
}

// WriteLayout writes image as the only one of an OCI layout in dir.
func WriteLayout(dir string, image v1.Image) error {
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write OCI layout %s: %w", dir, err)
	}
	if err := at.AppendImage(image); err != nil {
		return fmt.Errorf("write OCI layout %s: %w", dir, err)
	}
	return nil
}

// DirLayer is a layer of all that dir holds, owned as it is there.
func DirLayer(dir string) (v1.Layer, error) {
	return layerOf(tree{root: dir}.write)
}

// TextLayer is a layer of small files, by path; all belong to root.
func TextLayer(files map[string]string) (v1.Layer, error) {
	return layerOf(func(archive *tar.Writer) error {
		for _, name := range sortedKeys(files) {
			if err := addText(archive, name, 0o644, files[name]); err != nil {
				return err
			}
		}
		return nil
	})
}

// tree is a folder of this machine on its way into a layer.
type tree struct {
	root   string
	prefix string                 // where it goes, by slash path; empty is the image's root
	asRoot bool                   // all belongs to root, whoever owns it here
	skip   func(name string) bool // what stays behind, by slash path below root; folders with all below
}

// write adds the tree to an archive.
func (t tree) write(archive *tar.Writer) error {
	return filepath.WalkDir(t.root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(t.root, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if name == "." {
			return nil
		}
		if t.skip != nil && t.skip(name) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return t.writeEntry(archive, name, file, entry)
	})
}

// writeEntry adds one file, folder or symbolic link; devices, pipes and sockets
// are not for images.
func (t tree) writeEntry(archive *tar.Writer, name, file string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	target := ""
	switch mode := info.Mode(); {
	case mode&fs.ModeSymlink != 0:
		if target, err = os.Readlink(file); err != nil {
			return err
		}
	case !mode.IsRegular() && !mode.IsDir():
		return nil
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	// What the names of owners are is for /etc/passwd of the image to say.
	*header = tar.Header{
		Typeflag: header.Typeflag, Name: path.Join(t.prefix, name), Linkname: header.Linkname, Size: header.Size,
		Mode: header.Mode, Uid: header.Uid, Gid: header.Gid, ModTime: epoch(), Format: tar.FormatPAX,
	}
	if info.IsDir() {
		header.Name += "/"
	}
	if t.asRoot {
		header.Uid, header.Gid = 0, 0
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	return copyFile(archive, file)
}

func copyFile(w io.Writer, file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(w, in)
	return err
}

func addText(archive *tar.Writer, name string, mode int64, text string) error {
	err := archive.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(text)), ModTime: epoch()})
	if err != nil {
		return err
	}
	_, err = io.WriteString(archive, text)
	return err
}

func addDir(archive *tar.Writer, name string, mode int64, owner int) error {
	return archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir, Name: strings.TrimSuffix(name, "/") + "/", Mode: mode, Uid: owner, Gid: owner, ModTime: epoch(),
	})
}

func addLink(archive *tar.Writer, name, target string) error {
	return archive.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: epoch()})
}
