package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/imagewright/imagewright/internal/fault"
)

// openFile opens an archive of either kind. One that is both, as docker save
// makes them since Docker 25, is read as OCI: there digests name everything.
func (o Options) openFile(ctx context.Context, path string) (*Opened, error) {
	return o.inArchive(ctx, path, func(a *archive) (*Opened, error) {
		if a.isOCI() {
			return o.openOCI(a)
		}
		return o.openDocker(ctx, a)
	})
}

func (o Options) openOCIArchive(ctx context.Context, path string) (*Opened, error) {
	return o.inArchive(ctx, path, o.openOCI)
}

func (o Options) openDockerArchive(ctx context.Context, path string) (*Opened, error) {
	return o.inArchive(ctx, path, func(a *archive) (*Opened, error) { return o.openDocker(ctx, a) })
}

func (o Options) inArchive(ctx context.Context, path string, open func(*archive) (*Opened, error)) (*Opened, error) {
	a, err := openArchive(ctx, path, o.TempDir, o.MaxBytes)
	if err != nil {
		return nil, err
	}
	opened, err := open(a)
	if err != nil {
		a.close()
		return nil, err
	}
	return opened, nil
}

func (o Options) openOCI(a *archive) (*Opened, error) {
	layout := ociArchive{a}
	roots, err := layout.roots()
	if err != nil {
		return nil, err
	}
	desc, stored, err := o.pick(a.where(), roots)
	if err != nil {
		return nil, err
	}
	opened, err := o.opened(layout, desc, cmp.Or(stored, o.typed), a.close)
	if err == nil {
		// docker save leaves out the platforms that were never pulled.
		opened.partial = true
	}
	return opened, err
}

func (o Options) openDocker(ctx context.Context, a *archive) (*Opened, error) {
	entries, err := a.dockerEntries()
	if errors.Is(err, fs.ErrNotExist) {
		if a.cut {
			return nil, a.where().damaged("", "was cut off: it has no end mark, and neither manifest.json nor index.json")
		}
		return nil, fault.Usage(fmt.Errorf("archive %s: is no image: it has neither manifest.json nor oci-layout and index.json", a.path), accepted)
	}
	if err != nil {
		return nil, err
	}
	entry, stored, err := o.pickDocker(a.where(), entries)
	if err != nil {
		return nil, err
	}
	d, err := a.openDockerImage(ctx, entry)
	if err != nil {
		return nil, err
	}
	opened, err := o.opened(d, d.desc, cmp.Or(stored, o.typed), a.close)
	if err == nil {
		opened.MadeUp = true
	}
	return opened, err
}
