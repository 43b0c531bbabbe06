package dockerd

import (
	"archive/tar"
	"cmp"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"
)

// Import gives the engine an image of one layer that holds files: the path in
// the image, without a slash before it, to the file of this machine. With every
// program come the shared libraries it needs. A static busybox is always there,
// as bin/busybox and bin/sh.
func (e *Engine) Import(t testing.TB, name string, files map[string]string) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("%v; make packages-test installs it (apt: busybox-static)", err)
	}
	all := map[string]string{"bin/busybox": busybox, "bin/sh": busybox}
	maps.Copy(all, files)
	for _, file := range files {
		for _, library := range libraries(file) {
			all[strings.TrimPrefix(library, "/")] = library
		}
	}
	in, out := io.Pipe()
	go func() { out.CloseWithError(pack(out, all)) }()
	imported, err := e.API.ImageImport(t.Context(), client.ImageImportSource{Source: in, SourceName: "-"}, name, client.ImageImportOptions{})
	if err == nil {
		_, err = io.Copy(io.Discard, imported)
		err = errors.Join(err, imported.Close())
	}
	if err != nil {
		t.Fatalf("import %s: %v", name, err)
	}
}

// libraries are the shared libraries, and the loader, of a program.
func libraries(program string) []string {
	// One that is not dynamic is an error to ldd, and needs none.
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil
	}
	var found []string
	for _, field := range strings.Fields(string(out)) {
		if filepath.IsAbs(field) {
			found = append(found, field)
		}
	}
	return found
}

// pack writes files as a tar, and an empty /tmp.
func pack(w io.Writer, files map[string]string) error {
	to := tar.NewWriter(w)
	dirs := map[string]int64{"tmp": 0o1777}
	for name := range files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			dirs[dir] = cmp.Or(dirs[dir], 0o755)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if err := to.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: dirs[dir]}); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := add(to, name, files[name]); err != nil {
			return err
		}
	}
	return to.Close()
}

func add(to *tar.Writer, name, file string) error {
	from, err := os.Open(file)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size()}
	if err := to.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return err
}
