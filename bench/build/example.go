package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/test/checkout"
	"github.com/imagewright/imagewright/test/images"
)

// base is an image that stands in for one that a Dockerfile names, so that all
// builders start from the same bytes and none needs a public registry.
type base struct {
	name string // as in FROM
	at   string // HOST/REPOSITORY@DIGEST, for the builders
}

// The images that the example's Dockerfile starts from.
const (
	golangBase = "golang:1.26-bookworm"
	staticBase = "gcr.io/distroless/static-debian12:nonroot"
)

// pushBases makes the base images of the example, which cache keeps, and pushes
// them to the registry at addr.
func pushBases(ctx context.Context, cache, addr string) ([]base, error) {
	maker := &images.Maker{Cache: cache, Log: os.Stdout}
	var bases []base
	for _, from := range []string{golangBase, staticBase} {
		image, _, err := maker.StandIn(ctx, from)
		if err != nil {
			return nil, err
		}
		if image == nil {
			return nil, fmt.Errorf("test/images can make nothing in the place of %s", from)
		}
		to, err := name.ParseReference(addr + "/bases/" + strings.TrimPrefix(from, "gcr.io/"))
		if err != nil {
			return nil, err
		}
		if err := remote.Write(to, image, remote.WithContext(ctx)); err != nil {
			return nil, fmt.Errorf("push stand-in for %s: %w", from, err)
		}
		digest, err := image.Digest()
		if err != nil {
			return nil, err
		}
		bases = append(bases, base{from, to.Context().Digest(digest.String()).String()})
	}
	return bases, nil
}

// makeCheckout copies the example into a folder of dir and returns that. Each
// builder has its own copy: what one leaves in it is no part of another's build
// context.
func makeCheckout(dir, example string) (string, error) {
	to := filepath.Join(dir, "hello-go")
	if err := os.CopyFS(to, os.DirFS(example)); err != nil {
		return "", fmt.Errorf("copy the example: %w", err)
	}
	return to, errors.Join(
		os.RemoveAll(filepath.Join(to, ".imagewright")), // the user may have built in examples/
		write(to, ".gitignore", ".imagewright/\n"),
		commit(to, 0),
	)
}

// changeDockerfile makes another Dockerfile of the example's: no step after FROM
// is one that the example's has.
func changeDockerfile(dir string) error {
	const from = "FROM " + golangBase + " AS build\n"
	path := filepath.Join(dir, "Dockerfile")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, found := strings.Cut(string(text), from)
	if !found {
		return fmt.Errorf("%s does not hold the line %q; the benchmark adds one after it", path, from)
	}
	return write(dir, "Dockerfile", head+from+"ENV OTHER=1\n"+rest)
}

// changeCode changes a constant of main.go that ends up in the binary; it is
// found by the text around it.
func changeCode(dir string, round int) error {
	const before, after = `name = "world`, `"`
	path := filepath.Join(dir, "main.go")
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, found := strings.Cut(string(source), before)
	_, tail, closed := strings.Cut(rest, after)
	if !found || !closed || strings.Contains(tail, before) {
		return fmt.Errorf("%s does not hold %s…%s once; the benchmark changes the constant there", path, before, after)
	}
	return write(dir, "main.go", fmt.Sprintf("%s%s %d%s%s", head, before, round, after, tail))
}

// pageBytes is the size of the page: a large web page, or a small bundle of scripts.
const pageBytes = 64 << 10

// changePage writes the page of a round.
func changePage(dir string, round int) error {
	var page strings.Builder
	for line := 0; page.Len() < pageBytes; line++ {
		fmt.Fprintf(&page, "<p>Line %d of round %d.</p>\n", line, round)
	}
	return write(dir, filepath.Join("web", "index.html"), page.String())
}

// firstCommit dates the commits: the same tree gives the same image whenever
// the benchmark runs.
var firstCommit = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// commit makes a commit of what a round changed, as CI would see it.
func commit(dir string, round int) error {
	_, err := checkout.Commit(dir, checkout.Options{When: firstCommit.Add(time.Duration(round) * time.Minute)})
	return err
}

func write(dir, file, text string) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644)
}
