package test

import (
	"archive/tar"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/imagewright/imagewright/test/checkout"
)

// commitDate is that of every commit the scripts make: 2023-11-25 in UTC, and
// the day before where the committer sat.
func commitDate() time.Time {
	return time.Date(2023, 11, 24, 22, 30, 0, 0, time.FixedZone("UTC-5", -5*60*60))
}

// git-init [-branch=main] [-tag=TAG] [DIR] commits all of a folder, in a new
// repository if it is none yet, with an origin and a fixed date.
// $COMMIT is the commit.
func gitInit(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	flags := flag.NewFlagSet("git-init", flag.ContinueOnError)
	branch := flags.String("branch", "main", "")
	tag := flags.String("tag", "", "")
	parse(ts, flags, args)
	dir := ts.MkAbs(".")
	if flags.NArg() > 0 {
		dir = ts.MkAbs(flags.Arg(0))
	}
	commit, err := checkout.Commit(dir, checkout.Options{Branch: *branch, Tag: *tag, When: commitDate()})
	ts.Check(err)
	ts.Setenv("COMMIT", commit)
}

// rootDigest is the digest of the one image of a layout, a folder or a tar.
func rootDigest(path string, info fs.FileInfo) (string, error) {
	var text []byte
	var err error
	if info.IsDir() {
		text, err = os.ReadFile(filepath.Join(path, "index.json"))
	} else {
		text, err = indexOfArchive(path)
	}
	if err != nil {
		return "", err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(text, &index); err != nil {
		return "", fmt.Errorf("%s: index.json: %w", path, err)
	}
	if len(index.Manifests) != 1 {
		return "", fmt.Errorf("%s holds %d images, not one", path, len(index.Manifests))
	}
	return index.Manifests[0].Digest.String(), nil
}

func indexOfArchive(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if err != nil {
			return nil, fmt.Errorf("%s: no index.json: %w", path, err)
		}
		if header.Name == "index.json" {
			return io.ReadAll(archive)
		}
	}
}
