package test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/test/images"
)

// faultCommands are the scripts' commands for what goes wrong: they break
// things, and look whether what breaks leaves all else whole.
func faultCommands() map[string]command {
	return map[string]command{
		"blobs":     nameBlobs,
		"canary":    hideCanary,
		"damage":    damageBlob,
		"fails":     fails,
		"hidden":    hidden,
		"lend":      lend,
		"odd-image": makeOddImage,
		"tmpfs":     mountTmpfs,
		"workspace": makeWorkspace,
	}
}

// workspace makes .imagewright as a finished pipeline leaves it: an image with
// one package, built, scanned, tagged v1.0.0 and latest, and pushed.
func makeWorkspace(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	if len(args) > 0 {
		ts.Fatalf("usage: workspace")
	}
	dir := ts.MkAbs(".imagewright")
	layer, err := images.TextLayer(map[string]string{
		"usr/lib/node_modules/hello/package.json": `{"name": "hello", "version": "1.0.0"}`,
	})
	ts.Check(err)
	made, err := images.Compose(nil, []images.Step{{CreatedBy: "COPY hello", Layer: layer}}, nil)
	ts.Check(err)
	ts.Check(images.WriteLayout(filepath.Join(dir, "image"), made))
	hash, err := made.Digest()
	ts.Check(err)
	digest := hash.String()
	tags := []string{"v1.0.0", "latest"}
	ts.Check(errors.Join(
		record.Write(dir, "build", &record.Build{Image: record.Image{Digest: digest, MediaType: string(types.OCIManifestSchema1)}}),
		record.Write(dir, "scan", &record.Scan{Digest: digest, Verdict: record.Pass, FailOn: []string{"CRITICAL"}}),
		record.Write(dir, "tag", &record.Tag{Digest: digest, Tags: tags}),
		record.Write(dir, "push", &record.Push{Digest: digest, Targets: []record.Target{{Repository: "example.com/app", Digest: digest, Tags: tags}}}),
	))
}

// fails CODE PROGRAM [ARG…] runs a program that must end with that code, say why
// in one sentence, the last on stderr, and leave the workspace as it was.
func fails(ts *testscript.TestScript, neg bool, args []string) {
	before := holdings(ts)
	exits(ts, neg, args)
	i := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(filepath.Base(arg), "imagewright-") })
	if i < 0 {
		ts.Fatalf("usage: fails code [wrapper...] imagewright-step [argument...]")
	}
	program := filepath.Base(args[i])
	checkSentence(ts, program, ts.ReadFile("stderr"))
	checkHoldings(ts, strings.TrimPrefix(program, "imagewright-"), before, holdings(ts))
}

// checkSentence holds what a failed program wrote to the form of an error.
func checkSentence(ts *testscript.TestScript, program, log string) {
	lines := strings.Split(strings.TrimRight(log, "\n"), "\n")
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, program+": ") || strings.Count("\n"+log, "\n"+program+": ") != 1 {
		ts.Fatalf("the last line on stderr is %q; want one sentence, from %s", last, program)
	}
	for _, bad := range []string{"panic", "goroutine ", "failed to ", "rpc error", "%!"} {
		if strings.Contains(last, bad) {
			ts.Fatalf("the error says %q: %s", bad, last)
		}
	}
	if strings.HasSuffix(last, ": EOF") {
		ts.Fatalf("the error ends in a bare EOF: %s", last)
	}
}

// holdings are the records and the image of the workspace, by path below it.
func holdings(ts *testscript.TestScript) map[string]string {
	found, err := readTree(ts.MkAbs(".imagewright"), "record", "image")
	ts.Check(err)
	return found
}

// readTree reads all regular files in some folders of dir. What is not there is
// empty.
func readTree(dir string, folders ...string) (map[string]string, error) {
	found := map[string]string{}
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(dir, folder), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(dir, path)
			found[name] = string(text)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// checkHoldings holds a workspace to what it had. Scan and push take their own
// record away before they begin; nothing else may change, and what is new may
// only be whole blobs.
func checkHoldings(ts *testscript.TestScript, step string, before, after map[string]string) {
	if problem := changedHoldings(step, before, after); problem != "" {
		ts.Fatalf("%s", problem)
	}
	for name := range after {
		if _, old := before[name]; !old && strings.HasPrefix(filepath.Base(name), durable.TempPrefix) {
			ts.Fatalf("%s was left behind", name)
		}
	}
}

func changedHoldings(step string, before, after map[string]string) string {
	own := filepath.Join("record", step+".json")
	for name, text := range before {
		now, there := after[name]
		switch {
		case !there && name == own && (step == "scan" || step == "push"):
		case !there:
			return name + " is gone"
		case now != text:
			return name + " has changed; it was\n" + text + "\nand is\n" + now
		}
	}
	return ""
}

// tmpfs DIR BYTES makes DIR a file system of its own that holds so many bytes.
func mountTmpfs(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	if len(args) != 2 {
		ts.Fatalf("usage: tmpfs dir bytes")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(os.NewSyscallError("mount tmpfs", syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1])))
	ts.Defer(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			// What is still in use goes with its last user, not with the machine.
			_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		}
	})
}

// nobody is a user that owns nothing.
const nobody = 65534

// lend PROGRAM… hands programs and a copy of the current folder to the user
// 65534, and goes there: scripts run below a folder that is root's alone.
func lend(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	dir, err := os.MkdirTemp("/tmp", "lent-")
	ts.Check(err)
	ts.Defer(func() { _ = os.RemoveAll(dir) })
	ts.Check(os.Chmod(dir, 0o755))
	checkout, programs := filepath.Join(dir, "checkout"), filepath.Join(dir, "bin")
	ts.Check(errors.Join(os.CopyFS(checkout, os.DirFS(ts.MkAbs("."))), os.Mkdir(programs, 0o755)))
	for _, program := range args {
		text, err := os.ReadFile(filepath.Join(bin(), program))
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(programs, program), text, 0o755))
	}
	ts.Check(filepath.WalkDir(checkout, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	}))
	ts.Check(ts.Chdir(checkout))
	ts.Setenv("HOME", checkout)
	ts.Setenv("TMPDIR", "/tmp")
	ts.Setenv("PATH", programs+string(os.PathListSeparator)+ts.Getenv("PATH"))
}

// blobs LAYOUT puts the paths of the image's blobs into $MANIFEST, $CONFIG,
// $LAYER1, $LAYER2 and so on.
func nameBlobs(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	if len(args) != 1 {
		ts.Fatalf("usage: blobs layout")
	}
	for name, hash := range blobsOf(ts, args[0]) {
		ts.Setenv(strings.ToUpper(name), blobPath(args[0], hash))
	}
}

// damage [cut] manifest|config|layerN LAYOUT flips the last bit of that blob of
// the layout's image, or cuts the blob in half. $DAMAGED is its digest.
func damageBlob(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	cut := len(args) > 0 && args[0] == "cut"
	if cut {
		args = args[1:]
	}
	if len(args) != 2 {
		ts.Fatalf("usage: damage [cut] manifest|config|layerN layout")
	}
	hash, ok := blobsOf(ts, args[1])[args[0]]
	if !ok {
		ts.Fatalf("%s has no %s", args[1], args[0])
	}
	path := ts.MkAbs(blobPath(args[1], hash))
	text, err := os.ReadFile(path)
	ts.Check(err)
	if cut {
		text = text[:len(text)/2]
	} else {
		text[len(text)-1] ^= 1
	}
	ts.Check(os.WriteFile(path, text, 0o644))
	ts.Setenv("DAMAGED", hash.String())
}

func blobPath(layout string, hash v1.Hash) string {
	return filepath.Join(layout, "blobs", hash.Algorithm, hash.Hex)
}

// blobsOf returns the blobs of a layout's only image, a plain one.
func blobsOf(ts *testscript.TestScript, dir string) map[string]v1.Hash {
	layout, err := image.OpenLayout(ts.MkAbs(dir))
	ts.Check(err)
	root, err := layout.Root()
	ts.Check(err)
	made, err := layout.Image(root.Digest)
	ts.Check(err)
	manifest, err := made.Manifest()
	ts.Check(err)
	found := map[string]v1.Hash{"manifest": root.Digest, "config": manifest.Config.Digest}
	for i, layer := range manifest.Layers {
		found["layer"+string(rune('1'+i))] = layer.Digest
	}
	return found
}
