package test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// canaryText is in a file beside the checkout, which no image may have.
const canaryText = "c4n4ry of the machine"

// ADD unpacks archives that a stranger packed. Their names and links lead to
// places in the image and nowhere else, or the build fails.
func TestAnArchiveThatADDUnpacksStaysInTheImage(t *testing.T) {
	const up = "../../../../../../../../../../../../../.."
	file := func(name string) *tar.Header { return &tar.Header{Name: name, Mode: 0o644} }
	link := func(kind byte, name, to string) *tar.Header {
		return &tar.Header{Name: name, Mode: 0o777, Typeflag: kind, Linkname: to}
	}
	w := newBuildWorld(t, map[string]string{"Dockerfile": "FROM base\nADD hostile.tar /deep/er/\nRUN test -z \"$(find / -xdev -type f -exec grep -l c4n4ry {} +)\"\n"})
	for name, entries := range map[string]func(outside string) []*tar.Header{
		"names with dots":     func(o string) []*tar.Header { return []*tar.Header{file(up + o + "/written")} },
		"names from the root": func(o string) []*tar.Header { return []*tar.Header{file(o + "/written")} },
		"through a link": func(o string) []*tar.Header {
			return []*tar.Header{link(tar.TypeSymlink, "way", o), file("way/written")}
		},
		"through a link upwards": func(o string) []*tar.Header {
			return []*tar.Header{link(tar.TypeSymlink, "way", up+o), file("way/written")}
		},
		"over a link": func(o string) []*tar.Header {
			return []*tar.Header{link(tar.TypeSymlink, "way", o+"/written"), file("way")}
		},
		"a second name of a file": func(o string) []*tar.Header { return []*tar.Header{link(tar.TypeLink, "read", o+"/canary")} },
		"that name upwards":       func(o string) []*tar.Header { return []*tar.Header{link(tar.TypeLink, "read", up+o+"/canary")} },
		"that name through a link": func(o string) []*tar.Header {
			return []*tar.Header{link(tar.TypeSymlink, "way", o), link(tar.TypeLink, "read", "way/canary")}
		},
		"a link to read": func(o string) []*tar.Header { return []*tar.Header{link(tar.TypeSymlink, "read", o+"/canary")} },
	} {
		t.Run(name, func(t *testing.T) {
			s, outside := w.copied(t), t.TempDir()
			check(t, os.WriteFile(filepath.Join(outside, "canary"), []byte(canaryText), 0o644))
			check(t, writeLayer(filepath.Join(s.dir, "hostile.tar"), entries(outside)))
			code, said := s.run("build")
			if code != 0 && strings.Contains(said, "Dockerfile:3: ") {
				t.Errorf("the image has the machine's file:\n%s", said)
			}
			left, err := os.ReadDir(outside)
			check(t, err)
			if len(left) != 1 {
				t.Errorf("it wrote out of the image: %q", left)
			}
			if text, err := os.ReadFile(filepath.Join(outside, "canary")); err != nil || string(text) != canaryText {
				t.Errorf("the machine's file is %q, %v", text, err)
			}
		})
	}
}

// writeLayer writes an archive of these entries.
func writeLayer(path string, entries []*tar.Header) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, entry := range entries {
		if err := w.WriteHeader(entry); err != nil {
			return err
		}
	}
	return w.Close()
}
