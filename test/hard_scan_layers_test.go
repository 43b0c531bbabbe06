package test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// Layers that unpack to far more than they are, or say so.
func TestALayerThatUnpacksWithoutEndIsNamedWithItsLimit(t *testing.T) {
	zeros := gzipOf(t, make([]byte, 64<<20)) // 64 KB
	packedZeros := zstdRLE(32 << 10)         // 4 GiB in 128 KB
	for _, tc := range []struct {
		name  string
		layer blobLayer
		says  string
	}{
		{"zeros after its end", asItIs(func(w io.Writer) error {
			_, err := w.Write(zstdOf(append(header(t, &tar.Header{Name: "etc/motd", Mode: 0o644}, 0, ""), make([]byte, 1024)...)))
			return errors.Join(err, repeated(w, packedZeros, 16))
		}), "the layer unpacks to more than 8589934592 bytes"},
		{"gzip, 64 KB for 64 MB", asItIs(func(w io.Writer) error {
			_, err := w.Write(gzipOf(t, header(t, &tar.Header{Name: "srv/zeros", Size: 8<<30 - 1, Mode: 0o644}, 0, "")))
			return errors.Join(err, repeated(w, zeros, 16*8))
		}), "the layer unpacks to more than 8589934592 bytes"},
		{"a zstd window of 2 GiB", asItIs(func(w io.Writer) error {
			_, err := w.Write(zstdWindow(31))
			return err
		}), "cannot be decompressed: window size exceeded; build"},
		{"a zstd frame that says 1 TiB", asItIs(func(w io.Writer) error {
			// A single segment, whose window is its size, in eight bytes.
			frame := binary.LittleEndian.AppendUint64([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, 1<<40)
			_, err := w.Write(append(frame, zeros...))
			return err
		}), "cannot be decompressed: decompressed size exceeds configured limit"},
	} {
		if strings.HasPrefix(tc.name, "gzip") && !full() {
			continue // ten seconds, for what zstd shows as well
		}
		t.Run(tc.name, func(t *testing.T) {
			s := newHostileScan(t)
			s.layout("image", hello(), tc.layer)
			s.run(bounds{data: 1 << 30, deadline: 2 * time.Minute}, "--source=image").want(t, 1, tc.says)
		})
	}
}

// zstdRLE is a zstd frame of so many blocks of 128 KiB zeros.
func zstdRLE(blocks int) []byte {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38} // a window of 128 KiB
	for i := range blocks {
		head := uint32(128<<10)<<3 | 1<<1 // of one byte, repeated
		if i == blocks-1 {
			head |= 1
		}
		frame = append(frame, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	return frame
}

// zstdOf is a zstd frame of these bytes, which are few.
func zstdOf(data []byte) []byte {
	head := len(data)<<3 | 1
	return append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38, byte(head), byte(head >> 8), byte(head >> 16)}, data...)
}

// zstdWindow is a zstd frame whose reader has to keep 1<<log bytes.
func zstdWindow(log int) []byte {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, byte(log-10) << 3}
	return append(frame, 1<<3|1, 0, 0, 'a')
}

// Tars that lie. The scan ends with what is wrong with the layer.
func TestALayerWhoseTarLiesIsNoPass(t *testing.T) {
	raw := func(parts ...[]byte) blobLayer {
		return gzipped(func(w io.Writer) error {
			_, err := w.Write(append(bytes.Join(parts, nil), make([]byte, 1024)...))
			return err
		})
	}
	sized := func(size string) []byte { return header(t, &tar.Header{Name: "app/liar", Mode: 0o644}, 124, size) }
	base256 := func(n ...byte) string { return string(append(make([]byte, 0, 12), n...)) }
	for _, tc := range []struct {
		name  string
		layer blobLayer
		says  string
	}{
		{"a file that is longer than its tar", raw(header(t, &tar.Header{Name: "app/liar", Size: 1 << 30, Mode: 0o644}, 0, "")), `layer .*was cut off: it ends early after "app/liar"`},
		{"a file of 8 TiB", raw(sized(base256(0x80, 0, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 0))), "the files of the layer are larger than 8589934592 bytes"},
		{"a file of more than an int64", raw(sized(base256(0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))), "read layer"},
		{"a file of -1 bytes", raw(sized(base256(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))), "read layer"},
		{"a size that is no number", raw(sized("99999999999\x00")), "read layer"},
		{"sparse files of 8 TiB", raw(sparse(t, "app/sparse.log", 8<<40)), "the files of the layer are larger than 8589934592 bytes"},
		{"a header that goes on for 1 GiB", gzipped(func(w io.Writer) error {
			_, err := w.Write(header(t, &tar.Header{Name: "pax", Typeflag: tar.TypeReg, Size: 1 << 30}, 156, "x"))
			return errors.Join(err, repeated(w, []byte("1073741824 path="+strings.Repeat("a", 1<<20-16)), 1<<10))
		}), "read layer"},
		{"a name of 5,000 bytes", packed(func(w *tar.Writer) error { return addText(w, strings.Repeat("a/", 2500), "") }), "a path of more than 4096 bytes"},
		{"a link to 5,000 bytes", packed(func(w *tar.Writer) error {
			return w.WriteHeader(&tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("a", 5000)})
		}), "a path of more than 4096 bytes"},
		{"a file in place of the root", packed(func(w *tar.Writer) error { return addText(w, "..", "text") }), "a file in place of its root"},
		{"a whiteout of nothing", packed(func(w *tar.Writer) error { return addText(w, "etc/.wh.", "") }), "a whiteout of nothing"},
		{"a whiteout of what is above", packed(func(w *tar.Writer) error { return addText(w, "etc/.wh...", "") }), "a whiteout of nothing"},
		{"nothing", plainLayer(nil), "the layer is empty"},
		{"another tar than the image says", func() blobLayer {
			l := hello()
			l.plain, l.diffID = nil, asItIs(nil).diffID
			return l
		}(), "has another content"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newHostileScan(t)
			s.layout("image", hello(), tc.layer)
			s.run(bounds{data: 1 << 30}, "--source=image").want(t, 1, tc.says)
		})
	}
}

// Names and kinds of entries that lead elsewhere lead nowhere; what they hold is
// found where a runtime would put it.
func TestEntriesThatLeadElsewhereStayInTheImage(t *testing.T) {
	s := newHostileScan(t)
	const minimist = `{"name": "minimist", "version": "%s"}`
	link := func(w *tar.Writer, kind byte, name, to string) error {
		return w.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Linkname: to, Mode: 0o777})
	}
	s.layout("image",
		packed(func(w *tar.Writer) error { // all that the next layers take away
			var errs []error
			for i := range 100 {
				errs = append(errs, addText(w, fmt.Sprintf("old/node_modules/p%d/package.json", i), fmt.Sprintf(minimist, "0.0.8")))
			}
			return errors.Join(errs...)
		}),
		packed(func(w *tar.Writer) error {
			return errors.Join(addText(w, ".wh..wh..opq", ""), addText(w, "never/.wh.was", ""), addText(w, "../../.wh.etc", ""), addText(w, ".wh..wh.plnk", ""))
		}),
		packed(func(w *tar.Writer) error {
			var errs []error
			for i := range 1000 { // the later one counts
				errs = append(errs, addText(w, "twice/node_modules/minimist/package.json", fmt.Sprintf(minimist, fmt.Sprintf("0.0.%d", 1000-i))))
			}
			return errors.Join(append(errs,
				addText(w, "twice/node_modules/minimist/package.json", fmt.Sprintf(minimist, "1.2.6")),
				addText(w, "../../../../../../../../up/node_modules/minimist/package.json", fmt.Sprintf(minimist, "0.0.8")),
				addText(w, "//absolute/./x/../node_modules/minimist/package.json", fmt.Sprintf(minimist, "0.0.9")),
				link(w, tar.TypeSymlink, "loop", "loop"), link(w, tar.TypeSymlink, "a", "b"), link(w, tar.TypeSymlink, "b", "a/../a"),
				link(w, tar.TypeSymlink, "etc/os-release", "../../../../../../etc/os-release"),
				link(w, tar.TypeLink, "hard/node_modules/minimist/package.json", "../../../../etc/shadow"), link(w, tar.TypeLink, "self", "self"),
				link(w, tar.TypeSymlink, "way", "/"), addText(w, "way/node_modules/minimist/package.json", fmt.Sprintf(minimist, "0.0.10")),
				w.WriteHeader(&tar.Header{Name: "dev/node_modules/minimist/package.json", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5}),
				w.WriteHeader(&tar.Header{Name: "dev/disk.jar", Typeflag: tar.TypeBlock, Devmajor: 253}),
				w.WriteHeader(&tar.Header{Name: "pipe.jar", Typeflag: tar.TypeFifo}),
				w.WriteHeader(&tar.Header{Name: "odd", Typeflag: 'Z'}),
			)...)
		}))
	o := s.run(bounds{data: 1 << 30}, "--source=image", "--format=json", "--list-all-pkgs")
	o.want(t, 3, "")
	got := found(t, o.stdout)
	want := "absolute/node_modules/minimist/package.json minimist 0.0.9 CVE-2021-44906\n" +
		"twice/node_modules/minimist/package.json minimist 1.2.6\n" +
		"up/node_modules/minimist/package.json minimist 0.0.8 CVE-2021-44906\n" +
		"way/node_modules/minimist/package.json minimist 0.0.10 CVE-2021-44906\n"
	if got != want {
		t.Errorf("it found\n%s\nwant\n%s", got, want)
	}
}
