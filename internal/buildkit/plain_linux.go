package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/moby/buildkit/util/bklog"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/peer"
)

// plainShare says which part of a disk's free space plain layers may take: one
// in so many. The rest is for what a build cannot do without.
const plainShare = 8

// givePlain gives the engine the directory of plain layers that o names. Without
// it a build is as good.
func (h *hold) givePlain(o Options) {
	if o.PlainLayers == "" {
		return
	}
	if err := h.link.givePlain(o.PlainLayers); err != nil {
		o.Log.Debug("layers will not be left uncompressed", "error", err)
	}
}

func (l *link) givePlain(dir string) error {
	layers, err := image.CreatePlainLayers(dir)
	if err != nil {
		return err
	}
	defer layers.Close()
	f, err := layers.Directory()
	if err != nil {
		return err
	}
	defer f.Close()
	return l.give(plainPlace, f)
}

// plainLayers is where a guest wants layers left uncompressed. It is in the
// guest's own workspace, which the engine, in other namespaces and perhaps with
// other rights, writes to by descriptor: nothing is copied or moved later.
type plainLayers struct {
	*image.PlainLayers
	left atomic.Int64 // bytes that may still be written
}

// takePlain takes over f, the directory of a guest.
func (g *guest) takePlain(f *os.File) error {
	defer f.Close()
	var disk unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &disk); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	opened, err := image.ReceivePlainLayers(f)
	if err != nil {
		return err
	}
	p := &plainLayers{PlainLayers: opened}
	p.left.Store(min(image.MaxPlainLayers, int64(disk.Bavail)/plainShare*disk.Bsize))
	if before := g.plain.Swap(p); before != nil {
		before.Close()
	}
	return nil
}

// guestOf returns for whom something is done, nil if that is not known.
func guestOf(ctx context.Context) *guest {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	g, _ := p.Addr.(*guest)
	return g
}

// plainLayer is a layer that is being left uncompressed. Nothing that goes wrong
// with it is the blob's concern, beside which it is written: it then takes what
// comes and keeps nothing. A nil one always does that.
type plainLayer struct {
	in   *plainLayers
	file *image.PlainLayer // nil once it is kept or given up
	size int64
	note func(error)
}

// newPlainLayer begins one for the guest that ctx is of, or returns nil.
func newPlainLayer(ctx context.Context) *plainLayer {
	g := guestOf(ctx)
	if g == nil {
		return nil
	}
	in := g.plain.Load()
	if in == nil {
		return nil
	}
	p := &plainLayer{in: in, note: func(err error) {
		bklog.G(ctx).WithError(err).Info("a layer is not left uncompressed") // debug, to the program
	}}
	file, err := in.New()
	if err != nil {
		p.note(err)
		return nil
	}
	p.file = file
	return p
}

// Write implements io.Writer. It never fails.
func (p *plainLayer) Write(b []byte) (int, error) {
	if p == nil || p.file == nil {
		return len(b), nil
	}
	p.size += int64(len(b))
	if p.in.left.Add(-int64(len(b))) < 0 {
		p.note(errors.New("there would be too much of them"))
		p.discard()
	} else if _, err := p.file.Write(b); err != nil {
		p.note(err)
		p.discard()
	}
	return len(b), nil
}

// keep gives the layer its name.
func (p *plainLayer) keep(diffID digest.Digest) {
	if p == nil || p.file == nil {
		return
	}
	h, err := v1.NewHash(diffID.String())
	if err == nil {
		err = p.file.Keep(h)
	}
	if err != nil {
		p.note(fmt.Errorf("keep %s: %w", diffID, err))
		p.discard()
	}
	p.file = nil
}

// discard removes what was written, and lets others have the room.
func (p *plainLayer) discard() {
	if p == nil || p.file == nil {
		return
	}
	p.file.Discard()
	p.file = nil
	p.in.left.Add(p.size)
}
