package test

import (
	"archive/tar"
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// full tells whether images have their whole size: `go test -full`.
func full() bool { return flag.Lookup("full").Value.String() == "true" }

// scaled is a number of things: all of them with -full, else a tenth.
func scaled(all int) int {
	if full() {
		return all
	}
	return all / 10
}

// An image of millions of files, with -full as many as three, takes a minute and
// a gigabyte at most, of all processes together.
func TestAnImageOfMillionsOfFiles(t *testing.T) {
	files := scaled(3_000_000)
	s := newHostileScan(t)
	s.layout("image", hello(), packed(func(w *tar.Writer) error {
		for i := range files {
			var err error
			switch name := fmt.Sprintf("srv/data/%03d/%03d/file-%d", i/1_000_000, i/1000%1000, i); i % 10 {
			case 0:
				err = w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: "file"})
			case 1:
				err = addText(w, name+".js", "module.exports = function () { return 'a line of text' }\n")
			default:
				err = addText(w, name, "some text\n")
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
	o := s.run(bounds{memory: 1 << 30, deadline: 5 * time.Minute}, "--source=image")
	o.want(t, 0, "1 package")
	// On an idle machine a fifth of a minute; others work on this one.
	t.Logf("%d files: %v, %d MiB", files, o.wall, o.peak>>20)
	if o.wall > time.Duration(files)*time.Minute/3_000_000*3 {
		t.Errorf("it took %v", o.wall)
	}
	s.run(bounds{}, "--source=image").want(t, 0, "1 package") // what is known
}

// A text of gigabytes, with -full ten, in which secrets are looked for to the
// end, takes no more memory than a small one.
func TestAFileOfGigabytes(t *testing.T) {
	size := int64(scaled(10 << 30))
	s := newHostileScan(t)
	secret := "AKIA" + "Q3EGRIX5XJ2RZV7T"
	s.layout("image", hello(), packed(func(w *tar.Writer) error {
		tail := "a key: " + secret + "\n"
		if err := w.WriteHeader(&tar.Header{Name: "srv/large.log", Mode: 0o644, Size: size}); err != nil {
			return err
		}
		if _, err := io.Copy(w, io.LimitReader(newProse(), size-int64(len(tail)))); err != nil {
			return err
		}
		_, err := io.WriteString(w, tail)
		return err
	}))
	o := s.run(bounds{data: 1 << 30, memory: 256 << 20, deadline: 10 * time.Minute}, "--source=image")
	t.Logf("%d MB: %v, %d MiB", size>>20, o.wall, o.peak>>20)
	o.want(t, 3, "aws-access-key-id +srv/large.log:")
}

// prose is a text without end that hardly packs, of words that rules look for.
type prose struct {
	random *rand.Rand
	left   []byte
}

func newProse() io.Reader {
	return bufio.NewReaderSize(&prose{random: rand.New(rand.NewPCG(1, 2))}, 1<<20)
}

func (p *prose) Read(b []byte) (int, error) {
	words := []string{"the", "key", "of", "error", "request", "token", "in", "GET", "/index.html", "user", "session", "started", "warning:", "config", "200", "package"}
	for len(p.left) < len(b) {
		p.left = fmt.Appendf(p.left, "%08x", p.random.Uint32())
		for range 12 {
			p.left = append(append(p.left, ' '), words[p.random.IntN(len(words))]...)
		}
		p.left = append(p.left, '\n')
	}
	n := copy(b, p.left)
	p.left = append(p.left[:0], p.left[n:]...)
	return n, nil
}

// More packages, and more files that cannot be read, than any image has end with
// a limit, or take what they take.
func TestAnImageOfMorePackagesThanAnyHas(t *testing.T) {
	count := scaled(1_000_000)
	s := newHostileScan(t)
	s.layout("image", packed(func(w *tar.Writer) error {
		for i := range count {
			if err := addText(w, fmt.Sprintf("srv/%d/package.json", i), fmt.Sprintf(`{"name": "p%d", "version": "1.0.0"}`, i)); err != nil {
				return err
			}
		}
		return nil
	}))
	o := s.run(bounds{memory: 4 << 30, deadline: 5 * time.Minute}, "--source=image", "--reports=cyclonedx=bom.json")
	t.Logf("%d packages: %v, %d MiB", count, o.wall, o.peak>>20)
}

func TestAnImageOfMoreProblemsThanAnyHas(t *testing.T) {
	count := scaled(1_000_000)
	s := newHostileScan(t)
	s.layout("image", packed(func(w *tar.Writer) error {
		var errs []error
		for i := range count {
			errs = append(errs, addText(w, fmt.Sprintf("srv/%d/a.jar", i), "This is no archive."))
		}
		return errors.Join(errs...)
	}))
	o := s.run(bounds{memory: 4 << 30, deadline: 5 * time.Minute}, "--source=image")
	t.Logf("%d problems: %v, %d MiB", count, o.wall, o.peak>>20)
	_ = os.Stdout
}
