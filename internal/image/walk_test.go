package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type seen struct {
	Path    string
	Kind    Kind
	Link    string
	Content string
}

func walkAll(t testing.TB, raw []byte, limits Limits) ([]seen, error) {
	t.Helper()
	var all []seen
	err := WalkLayer(t.Context(), bytes.NewReader(raw), limits, func(e Entry, r io.Reader) error {
		content, err := io.ReadAll(r)
		all = append(all, seen{e.Path, e.Kind, e.Linkname, string(content)})
		return err
	})
	return all, err
}

func TestWalkLayer(t *testing.T) {
	long := strings.Repeat("directory/", 40) + "file"
	for _, tc := range []struct {
		name  string
		files []file
		want  []seen
	}{
		{"files and directories, cleaned", []file{
			{name: "./", kind: tar.TypeDir}, {name: "./etc/", kind: tar.TypeDir}, {name: "/etc/passwd", content: "root"}, {name: "usr//bin/../lib/x", content: "x"},
		}, []seen{{".", Dir, "", ""}, {"etc", Dir, "", ""}, {"etc/passwd", File, "", "root"}, {"usr/lib/x", File, "", "x"}}},
		{"paths never leave the root", []file{{name: "../../etc/shadow", content: "x"}, {name: "a/../../b", content: "y"}},
			[]seen{{"etc/shadow", File, "", "x"}, {"b", File, "", "y"}}},
		{"whiteouts", []file{
			{name: "etc/.wh.passwd"}, {name: "var/.wh..wh..opq"}, {name: ".wh..wh..opq"}, {name: ".wh.top"}, {name: ".wh..wh.plnk"}, {name: ".wh.dir/", kind: tar.TypeDir},
		}, []seen{{"etc/passwd", Whiteout, "", ""}, {"var", Opaque, "", ""}, {".", Opaque, "", ""}, {"top", Whiteout, "", ""}, {"dir", Whiteout, "", ""}}},
		{"links keep their targets", []file{
			{name: "a", kind: tar.TypeSymlink, link: "../../outside"}, {name: "b", kind: tar.TypeLink, link: "./x/../a"},
		}, []seen{{"a", Symlink, "../../outside", ""}, {"b", Hardlink, "a", ""}}},
		{"devices and pipes are others", []file{{name: "p", kind: tar.TypeFifo}, {name: "d", kind: tar.TypeChar}},
			[]seen{{"p", Other, "", ""}, {"d", Other, "", ""}}},
		{"an entry twice is seen twice", []file{{name: "a", content: "1"}, {name: "a", content: "2"}},
			[]seen{{"a", File, "", "1"}, {"a", File, "", "2"}}},
		{"long names", []file{{name: long, content: "x"}}, []seen{{long, File, "", "x"}}},
		{"a tar of nothing", nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := walkAll(t, makeTar(t, tc.files...), Limits{})
			must(t, err)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWalkLayerRefuses(t *testing.T) {
	whole := makeTar(t, file{name: "usr/bin/app", content: strings.Repeat("x", 4096)}, file{name: "last", content: "y"})
	for _, tc := range []struct {
		name   string
		raw    []byte
		limits Limits
		says   string
	}{
		{"a layer of zero bytes", nil, Limits{}, "the layer is empty"},
		{"a layer cut in a file", whole[:2000], Limits{}, `cut off: it ends early after "usr/bin/app"`},
		{"a layer cut in a header", whole[:5000], Limits{}, `cut off: it ends early after "usr/bin/app"`},
		{"a layer that is no tar", bytes.Repeat([]byte("no tar "), 200), Limits{}, "read layer"},
		{"more entries than allowed", whole, Limits{Entries: 1}, "more than 1 entries"},
		{"more bytes than allowed", whole, Limits{Bytes: 4000}, "larger than 4000 bytes"},
		{"a longer tail than allowed", append(bytes.Clone(whole), make([]byte, 4096)...), Limits{Bytes: int64(len(whole))}, "unpacks to more than"},
		{"a whiteout of its own directory", makeTar(t, file{name: "etc/.wh."}), Limits{}, "whiteout of nothing"},
		{"a whiteout of the parent", makeTar(t, file{name: "etc/.wh..."}), Limits{}, "whiteout of nothing"},
		{"a path longer than any system has", makeTar(t, file{name: strings.Repeat("a/", 3000) + "b"}), Limits{}, "more than 4096 bytes"},
		{"a file in place of the root", makeTar(t, file{name: "x/.."}), Limits{}, "in place of its root"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := walkAll(t, tc.raw, tc.limits)
			wantError(t, err, 1, tc.says)
		})
	}
}

func TestSparseFilesAreBounded(t *testing.T) {
	// 1 GiB of nothing in one block of a tar: PAX sparse format 0.1.
	var b bytes.Buffer
	records := ""
	for _, kv := range [][2]string{{"GNU.sparse.major", "0"}, {"GNU.sparse.minor", "1"}, {"GNU.sparse.size", "1073741824"}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", "0,1"}, {"GNU.sparse.name", "hole"}} {
		records += paxRecord(kv[0], kv[1])
	}
	block := func(name string, kind byte, content string) {
		var h bytes.Buffer
		w := tar.NewWriter(&h)
		must(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(content)), Format: tar.FormatUSTAR}))
		raw := h.Bytes()[:512]
		raw[156] = kind
		sum := 0
		copy(raw[148:156], "        ")
		for _, c := range raw {
			sum += int(c)
		}
		copy(raw[148:156], []byte{byte('0' + sum>>15&7), byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
		b.Write(raw)
		b.WriteString(content)
		b.Write(make([]byte, (512-len(content)%512)%512))
	}
	block("pax", 'x', records)
	block("hole", '0', "x")
	b.Write(make([]byte, 1024))

	_, err := walkAll(t, b.Bytes(), Limits{Bytes: 1 << 20})
	wantError(t, err, 1, "the files of the layer are larger")
}

func paxRecord(k, v string) string {
	n := len(k) + len(v) + 3
	for {
		r := fmt.Sprintf("%d %s=%s\n", n, k, v)
		if len(r) == n {
			return r
		}
		n = len(r)
	}
}

func TestWalkLayerStops(t *testing.T) {
	raw := makeTar(t, file{name: "a", content: "1"}, file{name: "b", content: "2"})
	t.Run("when visit fails", func(t *testing.T) {
		stop := errors.New("enough")
		n := 0
		err := WalkLayer(t.Context(), bytes.NewReader(raw), Limits{}, func(Entry, io.Reader) error { n++; return stop })
		if !errors.Is(err, stop) || n != 1 {
			t.Errorf("error %v after %d entries", err, n)
		}
	})
	t.Run("when cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := WalkLayer(ctx, bytes.NewReader(raw), Limits{}, func(Entry, io.Reader) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("even if visit hides that a file was cut", func(t *testing.T) {
		err := WalkLayer(t.Context(), bytes.NewReader(raw[:512]), Limits{}, func(_ Entry, r io.Reader) error {
			io.ReadAll(r)
			return nil
		})
		if err == nil {
			t.Error("no error")
		}
	})
}
