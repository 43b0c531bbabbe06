package test

import (
	"archive/tar"
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
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

// A text of any length, with -full ten gigabytes, in which secrets are looked for
// to the end, takes no more memory than a small one.
func TestAFileOfGigabytes(t *testing.T) {
	size := int64(256 << 20)
	if full() {
		size = 10 << 30
	}
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

// More packages, and more files that cannot be read, than any image has.
func TestAnImageOfMoreThanAnyHas(t *testing.T) {
	for _, tc := range []struct {
		name, path, text string
		count            int
		code             int
		says             string
		memory           int64
	}{
		{"packages", "srv/%d/package.json", `{"name": "p%d", "version": "1.0.0"}`, 110_000, 1, "more than 100000 packages", 0},
		{"as many as there may be", "srv/%d/package.json", `{"name": "p%d", "version": "1.0.0"}`, packagesAtMost(), 0, "000 packages", 3 << 30},
		{"broken archives", "srv/%d/a.jar", "This is no archive, nor is %d.", 20_000, 1, "more than 10000 files cannot be read, the last of them srv/", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newHostileScan(t)
			s.layout("image", packed(func(w *tar.Writer) error {
				for i := range tc.count {
					if err := addText(w, fmt.Sprintf(tc.path, i), fmt.Sprintf(tc.text, i)); err != nil {
						return err
					}
				}
				return nil
			}))
			s.run(bounds{memory: tc.memory, deadline: 5 * time.Minute}, "--source=image", "--reports=cyclonedx=bom.json\nspdx-json=bom.spdx.json").want(t, tc.code, tc.says)
		})
	}
}

// packagesAtMost is about as many as an image may have; fewer without -full, since
// each takes a tenth of a millisecond in each report.
func packagesAtMost() int {
	if full() {
		return 100_000
	}
	return 10_000
}

// More findings than anybody reads: of one layer, and of all of them.
func TestAnImageOfMoreSecretsThanAnyHas(t *testing.T) {
	secrets := func(seed uint64, count int) blobLayer {
		return packed(func(w *tar.Writer) error {
			const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
			random := rand.New(rand.NewPCG(seed, 0))
			var text strings.Builder
			for range count {
				text.WriteString("AKIA")
				for range 16 {
					text.WriteByte(letters[random.IntN(len(letters))])
				}
				text.WriteByte('\n')
			}
			return addText(w, fmt.Sprintf("srv/secrets-%d.txt", seed), text.String())
		})
	}
	s := newHostileScan(t)
	s.layout("image", hello(), secrets(1, 400_000))
	s.run(bounds{}, "--source=image").want(t, 1, `look for secrets in "srv/secrets-1.txt": the secrets in this layer, up to here, are too many: they take more than 64 MiB`)
	if !full() {
		return
	}
	layers := []blobLayer{hello()}
	for i := range 6 {
		layers = append(layers, secrets(uint64(i+1), 100_000))
	}
	s.layout("more", layers...)
	s.run(bounds{memory: 2 << 30}, "--source=more").want(t, 1, "no verdict: [0-9]{6} findings in 1 packages; at most 100000 findings")
}
