// Package hello is the application that benchmarks build, examples/hello-go:
// copies of it, the changes that are measured, and the images it starts from.
package hello

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/imagewright/imagewright/test/checkout"
)

// Checkout copies the example, into a folder of dir, commits it, and returns that
// folder. Each builder has its own: what one leaves in it is no part of another's
// build context.
func Checkout(dir, example string) (string, error) {
	to := filepath.Join(dir, "hello-go")
	if err := os.CopyFS(to, os.DirFS(example)); err != nil {
		return "", fmt.Errorf("copy the example: %w", err)
	}
	return to, errors.Join(
		os.RemoveAll(filepath.Join(to, ".imagewright")), // the user may have built in examples/
		write(to, ".gitignore", ".imagewright/\n"),
		Commit(to, 0),
	)
}

// firstCommit dates the commits: the same tree gives the same image whenever
// the benchmark runs.
var firstCommit = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Commit makes a commit of what a round changed in a checkout, as CI would see
// it. Round 0 is that of the example as it is.
func Commit(dir string, round int) error {
	_, err := checkout.Commit(dir, checkout.Options{When: firstCommit.Add(time.Duration(round) * time.Minute)})
	return err
}

// pageBytes is the size of the page: a large web page, or a small bundle of scripts.
const pageBytes = 64 << 10

// ChangePage writes the page of a round, which the Dockerfile only copies.
func ChangePage(dir string, round int) error {
	var page strings.Builder
	for line := 0; page.Len() < pageBytes; line++ {
		fmt.Fprintf(&page, "<p>Line %d of round %d.</p>\n", line, round)
	}
	return write(dir, filepath.Join("web", "index.html"), page.String())
}

// ChangeCode changes a constant of main.go that ends up in the binary; it is
// found by the text around it.
func ChangeCode(dir string, round int) error {
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

// ChangeDockerfile makes another Dockerfile of the example's: no step after FROM
// is one that the example's has.
func ChangeDockerfile(dir string) error {
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

func write(dir, file, text string) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644)
}
