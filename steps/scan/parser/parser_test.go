package parser

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/steps/scan/sandbox"
	"github.com/imagewright/imagewright/test/database"
)

func TestMain(m *testing.M) {
	ServeIfChild()
	os.Exit(m.Run())
}

func start(t *testing.T, o Options) *Process {
	t.Helper()
	o.Sandbox, o.TempDir = sandbox.Require, t.TempDir()
	p, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(o.TempDir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return p
}

// debian is a layer with a vulnerable zlib1g, and what else is given.
func debian(t *testing.T, more map[string]string) []byte {
	t.Helper()
	files := map[string]string{
		"etc/debian_version":  "12.5\n",
		"var/lib/dpkg/status": "Package: zlib1g\nStatus: install ok installed\nSource: zlib\nVersion: 1:1.2.13.dfsg-1\nArchitecture: amd64\nMaintainer: a\n",
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, set := range []map[string]string{files, more} {
		for name, content := range set {
			if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func digestOf(t *testing.T, data []byte) v1.Hash {
	t.Helper()
	h, _, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// inFile writes a blob into a file, behind something else.
func inFile(t *testing.T, data []byte) image.Span {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "blob"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(append([]byte("before"), data...)); err != nil {
		t.Fatal(err)
	}
	return image.Span{File: f, Offset: int64(len("before")), Size: int64(len(data))}
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func blobOf(t *testing.T, packed, plain []byte) Blob {
	t.Helper()
	return Blob{Descriptor: v1.Descriptor{Digest: digestOf(t, packed), Size: int64(len(packed))}, DiffID: digestOf(t, plain)}
}

func imageOf(t *testing.T, blobs ...Blob) Image {
	t.Helper()
	config := v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}}
	img := Image{Name: "hello"}
	for _, b := range blobs {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, b.DiffID)
		img.Layers = append(img.Layers, b.Descriptor)
	}
	var err error
	if img.Config, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	return img
}

func openDatabase(t *testing.T, p *Process) {
	t.Helper()
	dir := t.TempDir()
	if err := database.Write(dir, database.Options{}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "trivy.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := p.OpenDatabase(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func TestAConfinedParserFindsWhatAnImageHolds(t *testing.T) {
	plain := debian(t, map[string]string{"app/notes.txt": "a key: AKIAQ3EGRIX5XJ2RZV7T\n"})
	for name, packed := range map[string][]byte{"plain": plain, "gzip": gzipped(t, plain)} {
		t.Run(name, func(t *testing.T) {
			p := start(t, Options{Rules: Rules{Secrets: true}})
			blob := blobOf(t, packed, plain)
			if _, err := p.File(t.Context(), inFile(t, packed), blob); err != nil {
				t.Fatal(err)
			}
			openDatabase(t, p)
			openDatabase(t, p) // in place of the first
			img := imageOf(t, blob)
			img.Vulnerabilities = true
			r, err := p.Inspect(t.Context(), img)
			if err != nil {
				t.Fatal(err)
			}
			if got := found(r); got != "hello (debian 12.5) CVE-2023-45853, /app/notes.txt aws-access-key-id" {
				t.Errorf("found %s", got)
			}
			if r.Packages != 1 || r.OS.Name != "12.5" || len(r.Layers) != 1 {
				t.Errorf("%d packages, OS %v, %d layers; want one of Debian 12.5 in one", r.Packages, r.OS, len(r.Layers))
			}
		})
	}
}

// found lists vulnerabilities and secrets.
func found(r *Report) string {
	var all []string
	for _, result := range r.Results {
		for _, v := range result.Vulnerabilities {
			all = append(all, result.Target+" "+v.VulnerabilityID)
		}
		for _, s := range result.Secrets {
			all = append(all, result.Target+" "+s.RuleID)
		}
	}
	return strings.Join(all, ", ")
}

func TestALayerFromARegistryIsReadAsItArrives(t *testing.T) {
	plain := debian(t, nil)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(plain)), nil })
	if err != nil {
		t.Fatal(err)
	}
	packed, err := layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, Options{})
	if _, err := p.stream(t.Context(), bytes.NewReader(data), blobOf(t, data, plain)); err != nil {
		t.Errorf("stream: %v", err)
	}
	broken := errors.New("connection lost")
	torn := io.MultiReader(bytes.NewReader(data[:len(data)/2]), failing{broken})
	if _, err := p.stream(t.Context(), torn, blobOf(t, data, plain)); !errors.Is(err, broken) {
		t.Errorf("a connection that breaks: %v; want that error", err)
	}
	if _, err := p.stream(t.Context(), bytes.NewReader(data[:len(data)/2]), blobOf(t, data, plain)); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("a layer that ends early: %v; want that it was cut off", err)
	}
	other := blobOf(t, data, plain)
	other.DiffID = digestOf(t, []byte("another"))
	if _, err := p.stream(t.Context(), bytes.NewReader(data), other); err == nil || !strings.Contains(err.Error(), "another content") {
		t.Errorf("another layer than the configuration says: %v; want that it has another content", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestALayerThatIsKnownNeedsNotBeReadAgain(t *testing.T) {
	plain := debian(t, nil)
	blob := blobOf(t, plain, plain)
	answer, err := start(t, Options{}).File(t.Context(), inFile(t, plain), blob)
	if err != nil {
		t.Fatal(err)
	}
	kept := inFile(t, answer)
	if _, err := kept.File.Seek(kept.Offset, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	p := start(t, Options{})
	if _, err := p.Inspect(t.Context(), imageOf(t, blob)); err == nil || !strings.Contains(err.Error(), "was not read") {
		t.Errorf("an image of a layer that nobody read: %v; want an error that says so", err)
	}
	if err := p.Known(t.Context(), blob.DiffID, kept.File); err != nil {
		t.Fatal(err)
	}
	r, err := p.Inspect(t.Context(), imageOf(t, blob))
	if err != nil || r.Packages != 1 {
		t.Errorf("inspect a known layer: %+v, %v; want its one package", r, err)
	}
	for name, data := range map[string]string{"cut": string(answer[:len(answer)/2]), "empty": "", "of another layer": strings.ReplaceAll(string(answer), blob.DiffID.Hex[:8], "00000000")} {
		f := inFile(t, []byte(data))
		if _, err := f.File.Seek(f.Offset, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if err := p.Known(t.Context(), blob.DiffID, f.File); err == nil {
			t.Errorf("an answer that is %s was taken", name)
		}
	}
}

func TestAParserThatDiesIsAnErrorAndNoVerdict(t *testing.T) {
	p := start(t, Options{})
	if _, err := p.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.exited
	plain := debian(t, nil)
	_, err := p.File(t.Context(), inFile(t, plain), blobOf(t, plain, plain))
	if err == nil || !strings.Contains(err.Error(), "broke off: signal: killed") {
		t.Errorf("ask a killed parser: %v; want that it was killed", err)
	}
}

func TestAParserThatNeedsTooMuchMemoryIsToldApart(t *testing.T) {
	const limit = 192 << 20
	p := start(t, Options{MaxMemory: limit})
	// A list of packages that is no larger than what is parsed in memory.
	var status strings.Builder
	for i := 0; status.Len() < 60<<20; i++ {
		fmt.Fprintf(&status, "Package: p%d\nStatus: install ok installed\nVersion: 1-%d\nArchitecture: all\n\n", i, i)
	}
	plain := debian(t, map[string]string{"var/lib/dpkg/status.d/many": status.String()})
	_, err := p.File(t.Context(), inFile(t, plain), blobOf(t, plain, plain))
	if err == nil || !strings.Contains(err.Error(), "out of memory, of which it gets 192 MiB") {
		t.Errorf("a layer that takes more than %d bytes: %v; want that memory is short", limit, err)
	}
}

func TestAParserThatComputesForTooLongIsToldApart(t *testing.T) {
	// A file of zeros that takes half a minute to hash, and no place.
	const size = 1 << 35
	f, err := os.Create(filepath.Join(t.TempDir(), "layer"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := tar.NewWriter(f).WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size + 4<<10); err != nil {
		t.Fatal(err)
	}
	p := start(t, Options{MaxCPU: time.Second})
	span := image.Span{File: f, Size: size + 4<<10}
	_, err = p.File(t.Context(), span, Blob{Descriptor: v1.Descriptor{Digest: digestOf(t, nil), Size: span.Size}, DiffID: digestOf(t, nil)})
	if err == nil || !strings.Contains(err.Error(), "out of processor time, of which it gets 1s") || !strings.Contains(fault.Hint(err), "longer timeout") {
		t.Errorf("a layer that takes more than a second: %v; %s; want that time is short", err, fault.Hint(err))
	}
}

func TestCancellingEndsTheParserAtOnce(t *testing.T) {
	p := start(t, Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	r, w, err := os.Pipe() // a layer that never comes
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	reason := errors.New("enough")
	time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	plain := debian(t, nil)
	if _, err := p.call(ctx, request{Do: doLayer, Blob: new(blobOf(t, plain, plain))}, nil, r); !errors.Is(err, reason) {
		t.Errorf("cancelled: %v; want %v", err, reason)
	}
}

func TestRulesMakeAnotherKey(t *testing.T) {
	seen := map[string]string{}
	for name, rules := range map[string]Rules{
		"none":           {},
		"secrets":        {Secrets: true},
		"own rules":      {Secrets: true, SecretConfig: []byte("disable-rules: [aws-access-key-id]\n")},
		"skipped files":  {SkipFiles: []string{"a"}},
		"skipped dirs":   {SkipDirs: []string{"a"}},
		"skipped in two": {SkipDirs: []string{"a", "b"}},
	} {
		key := rules.Key()
		if other, ok := seen[key]; ok || len(key) < 8 || filepath.Base(key) != key {
			t.Errorf("%s: key %q, which %q has too; want a file name of its own", name, key, other)
		}
		seen[key] = name
	}
}
