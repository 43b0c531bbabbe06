package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/imagewright/imagewright/test/checkout"
)

// The images that the example's Dockerfile starts from.
const (
	golangBase = "golang:1.26-bookworm"
	staticBase = "gcr.io/distroless/static-debian12:nonroot"
)

// makeCheckout copies the example to dir. Each builder has its own copy: what
// one leaves in it is no part of the other's build context.
func makeCheckout(dir, example string) error {
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		return fmt.Errorf("copy the example: %w", err)
	}
	return errors.Join(
		os.RemoveAll(filepath.Join(dir, ".imagewright")), // the user may have built in examples/
		write(dir, ".gitignore", ".imagewright/\n"),
		commit(dir, 0),
	)
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
