package javaindex

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/test/database"
)

// many is an index of more than a page, as a file.
func many(t testing.TB) []byte {
	t.Helper()
	var archives []database.JavaArchive
	for i := range 500 {
		archives = append(archives, archive(fmt.Sprintf("org.acme.group%d", i%20), fmt.Sprintf("artifact%d", i), "1", fmt.Sprintf("%040x", i)))
	}
	data, err := os.ReadFile(filepath.Join(written(t, archives), "trivy-java.db"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A damaged index must not be one that knows less in silence.
func TestADamagedIndexIsAnError(t *testing.T) {
	whole := many(t)
	page := 4096
	for name, data := range map[string][]byte{
		"cut by a page":  whole[:len(whole)-page],
		"cut in a page":  whole[:len(whole)-page/2],
		"zeroed pages":   append(whole[:page:page], make([]byte, len(whole)-page)...),
		"filled pages":   append(whole[:page:page], []byte(strings.Repeat("\xff", len(whole)-page))...),
		"only its start": whole[:page],
	} {
		t.Run(name, func(t *testing.T) {
			if err := useAll(t, data); err == nil {
				t.Error("500 archives were looked up without an error")
			}
		})
	}
	if err := useAll(t, whole); err != nil {
		t.Errorf("the whole index: %v", err)
	}
}

// useAll opens an index of the bytes and makes every kind of lookup, until one
// fails or does not find what was in the whole index.
func useAll(t testing.TB, data []byte) error {
	x, err := Open(unlinked(t, file(t, string(data))))
	if err != nil {
		return err
	}
	defer x.Close()
	for i := range 500 {
		a, err1 := x.SearchBySHA1(t.Context(), fmt.Sprintf("%040x", i))
		ok, err2 := x.Exists(t.Context(), fmt.Sprintf("org.acme.group%d", i%20), fmt.Sprintf("artifact%d", i))
		group, err3 := x.SearchByArtifactID(t.Context(), fmt.Sprintf("artifact%d", i), "1")
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		if a.Version != "1" || !ok || group == "" {
			return nil
		}
	}
	return nil
}

// FuzzIndexFile: whatever the file holds, there is an answer or an error.
func FuzzIndexFile(f *testing.F) {
	whole := many(f)
	for _, at := range []int{16, 18, 28, 100, 105, 4096, 4100, 8192, len(whole) - 10} {
		f.Add(at, []byte{0xff, 0x00, 0x7f})
	}
	f.Fuzz(func(t *testing.T, at int, patch []byte) {
		data := append([]byte(nil), whole...)
		if at < 0 || at >= len(data) {
			return
		}
		copy(data[at:], patch)
		x, err := Open(unlinked(t, file(t, string(data))))
		if err != nil {
			return
		}
		defer x.Close()
		for i := range 20 {
			x.SearchBySHA1(t.Context(), fmt.Sprintf("%040x", i*25))
			x.Exists(t.Context(), "org.acme.group1", fmt.Sprintf("artifact%d", i*25))
			x.SearchByArtifactID(t.Context(), fmt.Sprintf("artifact%d", i*25), "1")
		}
	})
}
