package analysis

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

// contentOf is a file of a layer, without the layer.
func contentOf(data []byte) *content {
	return &content{bytes.NewReader(data), int64(len(data)), func() error { return nil }}
}

// complete fails unless every package has what its matching needs.
func complete(t *testing.T, pkgs ftypes.Packages) {
	t.Helper()
	for _, p := range pkgs {
		if p.Empty() || p.ID == "" {
			t.Errorf("package %+v has no name, version or ID", p)
		}
	}
}

func FuzzDpkgStatus(f *testing.F) {
	for _, seed := range []string{
		"Package: a\nStatus: install ok installed\nVersion: 1:2-3\nSource: b (4-5)\nDepends: c (>= 1) | d, a\n\n\nPackage: c\nVersion: 1\n",
		"Package: a\r\nVersion: 1\r\n\r\nPackage: b\r\n", "no colon\n\n: x\n", "Package: a\nVersion: -\n", "Package: a\nConffiles:\n /etc/a 0\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pkgs, _ := dpkgPackages(data, &listing{})
		complete(t, pkgs)
		_, _ = md5sumsFiles(data, &listing{})
		_ = copyrightLicenses(contentOf(data))
	})
}

func FuzzApk(f *testing.F) {
	f.Add("C:Q1v8oTGODnoCQRFLFEV3BXe7u8EQY=\nP:musl\nV:1.2-r7\no:x\nL:MIT AND BSD\nF:lib\nR:a\np:so:x=1\nD:!y so:x>1\n\nP:b\n")
	f.Add("P:a\nV:?\n\nR:\nF:\n")
	f.Fuzz(func(t *testing.T, text string) {
		db := newApkDatabase(&listing{})
		_ = db.read(text)
		complete(t, db.pkgs)
		_ = apkRelease(text)
	})
}

func FuzzRelease(f *testing.F) {
	for _, p := range []string{"etc/os-release", "etc/debian_version", "etc/lsb-release", esmStatus, "etc/system-release", "etc/redhat-release", "etc/almalinux-release"} {
		f.Add(p, debianOSRelease)
		f.Add(p, "Rocky Linux release 9.3 (Blue Onyx)\nDISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n")
		f.Add(p, "Amazon Linux release 2\nAmazon Linux\n")
	}
	f.Fuzz(func(t *testing.T, p, text string) {
		l := newLayer(t.Context(), Options{})
		_ = l.release(t.Context(), p, contentOf([]byte(text)))
		for _, c := range l.result.OS {
			if len(c.OS.Name) > maxOSName || strings.ContainsAny(c.OS.Name, "\x1b\n\r\x00") {
				t.Errorf("name %q", c.OS.Name)
			}
		}
	})
}

func FuzzRpmManifest(f *testing.F) {
	f.Add("a\t1-2\t0\t0\tv\t(none)\t1\tx86_64\t0\ta-1-2.src.rpm\n")
	f.Add("a\t1\n\t\t")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = rpmManifestPackages(text, &listing{})
	})
}

func FuzzContentSets(f *testing.F) {
	f.Add([]byte(`{"content_sets":["a","b"]}`))
	f.Add([]byte(`{"Content":[{"Name":"a","Version":"1","Epoch":"x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLayer(t.Context(), Options{})
		_ = l.contentSets(t.Context(), "", contentOf(data))
		_ = l.bottlerocket(t.Context(), "", contentOf(data))
	})
}

func FuzzBuildDockerfile(f *testing.F) {
	f.Add(ubiDockerfile)
	f.Add("# escape=`\nARG a=\"b\nLABEL ${a\\ 'x\nRUN <<A\n")
	f.Fuzz(func(t *testing.T, text string) {
		if component, arch := redHatLabels(text); len(component) > maxLabel || len(arch) > maxLabel {
			t.Errorf("labels of %d and %d bytes", len(component), len(arch))
		}
	})
}

func FuzzRpmDatabase(f *testing.F) {
	header := rpmPackageOf("x", rpmTag{tagVendor, "Red Hat"}, rpmTag{tagDirIndexes, []uint32{0}}, rpmTag{tagBaseNames, []string{"f"}}, rpmTag{tagDirNames, []string{"/usr/"}})
	f.Add(ndbOf(header, header))
	f.Add(berkeleyDBOf(binary.LittleEndian, header))
	f.Add(berkeleyDBOf(binary.BigEndian, header))
	f.Add([]byte(sqliteOf(f, []string{"PRAGMA page_size = 512", rpmTable}, header)))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLayer(t.Context(), Options{TempDir: dir})
		_ = l.parse(t.Context(), analyzer{nameRpm, maxRpmDatabase, l.rpm}, "var/lib/rpm/Packages", contentOf(data))
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in the temporary directory: %v (%v)", left, err)
		}
	})
}

// What is taken for sound, go-rpmdb must read without harm.
func FuzzRpmHeader(f *testing.F) {
	f.Add(rpmPackageOf("x", rpmTag{tagVendor, "Red Hat"}, rpmTag{tagDirIndexes, []uint32{0}}, rpmTag{tagBaseNames, []string{"f"}}, rpmTag{tagDirNames, []string{"/usr/"}}))
	f.Add(rpmHeaderOf(rpmTag{63, make([]byte, 16)}, rpmTag{tagName, "x"}))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, header []byte) {
		l := newLayer(t.Context(), Options{TempDir: dir})
		list := rpmList{listed: &l.listing, providers: map[string]string{}}
		h := rpmHeaders{tempDir: dir, each: list.add}
		_ = l.parse(t.Context(), analyzer{parse: func(context.Context, string, *content) error {
			return errors.Join(h.add(header), h.flush())
		}}, "", contentOf(nil))
	})
}
