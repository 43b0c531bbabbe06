package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/util/overlay"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/image"
)

// differ makes a layer's blob from a snapshot. Its bytes depend on the content
// of the layer alone: not on when, where or from which cache it was built.
// Access and change times are never written, nor the names of users and groups.
//
// A blob made here stays with the snapshot's cache record, so it is made once;
// then the layer is left uncompressed, too, for whoever asked for that.
// It does not see layers of the arbitrary diffs that LLB, but no Dockerfile, can
// ask for; nor zstd layers and layers of a chosen gzip level.
type differ struct{ store content.Store }

// Compare implements diff.Comparer.
func (d *differ) Compare(ctx context.Context, lower, upper []mount.Mount, opts ...diff.Opt) (ocispecs.Descriptor, error) {
	var config diff.Config
	for _, opt := range opts {
		if err := opt(&config); err != nil {
			return ocispecs.Descriptor{}, err
		}
	}
	media := config.MediaType
	if media == "" {
		media = ocispecs.MediaTypeImageLayerGzip
	}
	if media != ocispecs.MediaTypeImageLayerGzip && media != ocispecs.MediaTypeImageLayer {
		return ocispecs.Descriptor{}, fmt.Errorf("make a layer: media type %q: %w", media, errdefs.ErrNotImplemented)
	}
	// Waits while another computes the same record's blob.
	w, err := content.OpenWriter(ctx, d.store, content.WithRef(config.Reference),
		content.WithDescriptor(ocispecs.Descriptor{MediaType: media}))
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("make a layer: %w", err)
	}
	defer w.Close()                       // no-op after Commit
	if err := w.Truncate(0); err != nil { // what a killed build left under this reference
		return ocispecs.Descriptor{}, fmt.Errorf("make a layer: %w", err)
	}
	compress := media == ocispecs.MediaTypeImageLayerGzip
	var plain *plainLayer
	if compress {
		plain = newPlainLayer(ctx)
		defer plain.discard() // no-op after keep
	}
	diffID, err := writeLayer(ctx, w, compress, lower, upper, plain)
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("make a layer: %w", err)
	}
	desc, err := d.commit(ctx, w, media, diffID, config.Labels)
	if err == nil {
		plain.keep(diffID)
	}
	return desc, err
}

// commit stores what w got, with the digest of the uncompressed layer beside it.
func (d *differ) commit(ctx context.Context, w content.Writer, media string, plain digest.Digest, extra map[string]string) (ocispecs.Descriptor, error) {
	noted := map[string]string{labels.LabelUncompressed: plain.String()}
	maps.Copy(noted, extra)
	blob := w.Digest()
	err := w.Commit(ctx, 0, blob, content.WithLabels(noted))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return ocispecs.Descriptor{}, fmt.Errorf("store a layer: %w", err)
	}
	info, err := d.store.Info(ctx, blob)
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("store a layer: %w", err)
	}
	if info.Labels[labels.LabelUncompressed] == "" { // it was there, from a pull
		info.Labels = noted
		if _, err := d.store.Update(ctx, info, "labels."+labels.LabelUncompressed); err != nil {
			return ocispecs.Descriptor{}, fmt.Errorf("store a layer: %w", err)
		}
	}
	return ocispecs.Descriptor{MediaType: media, Size: info.Size, Digest: info.Digest}, nil
}

// writeLayer writes the layer that leads from lower to upper, compressed or not,
// and also to plain as it is. It returns the digest of it uncompressed.
func writeLayer(ctx context.Context, to io.Writer, compress bool, lower, upper []mount.Mount, plain io.Writer) (digest.Digest, error) {
	packer, err := image.NewPacker(to, compress, plain)
	if err != nil {
		return "", err
	}
	err = writeTar(ctx, &cancelled{ctx, packer}, lower, upper)
	if err := errors.Join(err, packer.Close()); err != nil { // Close also ends its goroutines
		return "", err
	}
	return digest.Digest(packer.DiffID().String()), nil
}

// writeTar writes the changes from lower to upper. In an overlay they are in
// one directory; otherwise both trees are walked.
func writeTar(ctx context.Context, w io.Writer, lower, upper []mount.Mount) error {
	if upperdir, err := overlay.GetUpperdir(lower, upper); err == nil {
		return writeUpperdir(ctx, w, upperdir, lower)
	}
	latest := image.LayerTime()
	return mount.WithTempMount(ctx, lower, func(lowerRoot string) error {
		return mount.WithReadonlyTempMount(ctx, upper, func(upperRoot string) error {
			return archive.WriteDiff(ctx, w, lowerRoot, upperRoot, archive.WithSourceDateEpoch(&latest))
		})
	})
}

// writeUpperdir writes what is in upperdir, an overlay's topmost directory.
func writeUpperdir(ctx context.Context, w io.Writer, upperdir string, lower []mount.Mount) error {
	empty, err := os.MkdirTemp("", "lower-")
	if err != nil {
		return err
	}
	defer os.Remove(empty)
	// A view of upperdir without whiteouts: an overlay needs two lower
	// directories to be read-only, so the second one is empty.
	view := []mount.Mount{{Type: "overlay", Source: "overlay", Options: viewOptions(upperdir, empty)}}
	return mount.WithTempMount(ctx, lower, func(lowerRoot string) error {
		return mount.WithTempMount(ctx, view, func(viewRoot string) error {
			tar := archive.NewChangeWriter(w, viewRoot, archive.WithModTimeUpperBound(image.LayerTime()))
			err := overlay.Changes(ctx, tar.HandleChange, upperdir, viewRoot, lowerRoot)
			return errors.Join(err, tar.Close())
		})
	})
}

// viewOptions are those of a read-only overlay. Without index=off the kernel
// refuses a directory that is an overlay's upper one at the same time; a kernel
// that doesn't know the option refuses that.
func viewOptions(dirs ...string) []string {
	options := []string{"lowerdir=" + dirs[0] + ":" + dirs[1]}
	if _, err := os.Stat("/sys/module/overlay/parameters/index"); err == nil {
		options = append(options, "index=off")
	}
	return options
}

// cancelled writes until its context ends: the walks of containerd don't look.
type cancelled struct {
	ctx context.Context
	w   io.Writer
}

// Write implements io.Writer.
func (c *cancelled) Write(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
