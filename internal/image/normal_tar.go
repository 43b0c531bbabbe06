package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// xattrRecord begins the PAX records that runtimes apply.
const xattrRecord = "SCHILY.xattr."

// normalTar copies the layer tar r to w as the embedded engine would have
// written it: no time after [LayerTime], none of access and change, no names of
// users and groups, PAX where the first tar format has no room. What a runtime
// makes of it is the same but for the times. It reads r to its end.
//
// Model: ChangeWriter of
// https://github.com/containerd/containerd/blob/v2.4.2/pkg/archive/tar.go
func normalTar(ctx context.Context, w io.Writer, r io.Reader) error {
	in := &boundedReader{r: contextReader{ctx, r}, limit: defaultLayerBytes, left: defaultLayerBytes}
	walk := &walk{in: in}
	from, to := tar.NewReader(in), tar.NewWriter(w)
	buffer := make([]byte, packBuffer)
	left := int64(defaultLayerBytes) // of files: a sparse one has more than the tar
	for n := 0; ; n++ {
		h, err := from.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return walk.readError(err)
		}
		if n == defaultEntries {
			return fmt.Errorf("the layer has more than %d entries", defaultEntries)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // no runtime heeds it
		}
		normal := normalHeader(h)
		walk.last = h.Name
		if left -= normal.Size; normal.Size < 0 || left < 0 {
			return fmt.Errorf("the files of the layer are larger than %d bytes", int64(defaultLayerBytes))
		}
		if err := to.WriteHeader(normal); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
		content := io.LimitReader(&contentReader{r: from, walk: walk}, normal.Size)
		if _, err := io.CopyBuffer(to, content, buffer); err != nil {
			return err
		}
	}
	if in.left == defaultLayerBytes {
		return errors.New("the layer is empty: even a tar of no files has an end mark")
	}
	if err := to.Close(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in) // what a tar may have after its end mark
	return err
}

// normalHeader is h with nothing in it but what a runtime applies.
func normalHeader(h *tar.Header) *tar.Header {
	if isWhiteout(h.Name) {
		// Not PAX: the engine leaves the format of these open.
		return &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimRight(h.Name, "/"), ModTime: time.Unix(0, 0)}
	}
	normal := &tar.Header{
		Format: tar.FormatPAX, Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname,
		Mode: h.Mode & 0o7777, // Docker's archives repeat the kind of the file in it
		Uid:  h.Uid, Gid: h.Gid, Size: h.Size, ModTime: h.ModTime,
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeLink, tar.TypeSymlink:
		normal.Size = 0
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		normal.Size, normal.Name = 0, strings.TrimRight(h.Name, "/")
		normal.Devmajor, normal.Devminor = h.Devmajor, h.Devminor
	case tar.TypeReg, tar.TypeGNUSparse:
		// The holes of a sparse file are read as zeros.
		normal.Typeflag, normal.Name = tar.TypeReg, strings.TrimRight(h.Name, "/")
	}
	if latest := LayerTime(); normal.ModTime.After(latest) {
		normal.ModTime = latest
	}
	normal.ModTime = normal.ModTime.Truncate(time.Second)
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, xattrRecord) {
			if normal.PAXRecords == nil {
				normal.PAXRecords = map[string]string{}
			}
			normal.PAXRecords[key] = value
		}
	}
	return normal
}

// isWhiteout tells whether runtimes take the entry called name for a removal,
// whatever else its header says.
func isWhiteout(name string) bool {
	base := path.Base(name)
	return base == opaqueName || strings.HasPrefix(base, whiteoutPrefix) && !strings.HasPrefix(base, aufsPrefix)
}
