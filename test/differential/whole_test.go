package differential

import (
	"archive/tar"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// wholeFixtures hold much of everything: what nobody thought of shows here.
func wholeFixtures(src sources) []fixture {
	return []fixture{
		{name: "whole-integration", layers: func(t *testing.T) []*layer {
			return []*layer{
				alpine("3.18.3", apk("libssl3", "3.1.2-r0", "openssl")),
				run("COPY integration").some(t, "srv/integration", filepath.Join(src.trivy, "integration", "testdata"), nil),
			}
		}},
		{name: "whole-parsers", archive: true, layers: func(t *testing.T) []*layer {
			return []*layer{
				run("COPY dependency").some(t, "srv/dependency", filepath.Join(src.trivy, "pkg", "dependency"), nil),
				run("RUN rm").remove("srv/dependency/parser/java").remove("srv/dependency/parser/python/packaging"),
			}
		}},
		{name: "whole-analyzers", layers: func(t *testing.T) []*layer {
			return []*layer{
				run("ADD debian").text("etc/debian_version", "12.5\n").text("var/lib/dpkg/status", dpkg("libc6", "2.36-9+deb12u1", "Source: glibc")),
				run("COPY analyzers").some(t, "srv/analyzer", filepath.Join(src.trivy, "pkg", "fanal", "analyzer", "language"), map[string]bool{
					"php/composer/testdata/composer-vendor/sad/installed.json": true, // no parser reads these
				}),
				run("COPY secrets").some(t, "srv/secret", filepath.Join(src.trivy, "pkg", "fanal", "secret"), nil),
				run("COPY again").some(t, "srv/again", filepath.Join(src.trivy, "pkg", "fanal", "analyzer", "language", "nodejs"), nil).opaque("srv/analyzer/nodejs"),
			}
		}},
	}
}

// some adds the files below a folder, but those left out; all may be executed.
func (l *layer) some(t *testing.T, prefix, root string, without map[string]bool) *layer {
	t.Helper()
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.HasSuffix(file, ".go") {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil || without[filepath.ToSlash(name)] {
			return err
		}
		l.entry(tar.Header{Typeflag: tar.TypeReg, Name: prefix + "/" + filepath.ToSlash(name), Mode: 0o755}, read(t, file))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}
