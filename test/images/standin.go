package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// StandIn returns an image that can take the place of the base a Dockerfile
// names, and what it is made of in words. The image is nil where there is none.
func (m *Maker) StandIn(ctx context.Context, base string) (image v1.Image, madeOf string, err error) {
	repository, tag, _ := strings.Cut(base, ":")
	switch {
	case repository == "golang" && (tag == "" || strings.Contains(tag, suite)):
		image, err = m.Golang(ctx)
		return image, "this machine's Go on a debootstrapped Debian 12", err
	case repository == "debian" && strings.HasPrefix(tag, suite), repository == "debian" && strings.HasPrefix(tag, "12"):
		image, err = m.Debian(ctx)
		return image, "a debootstrapped Debian 12", err
	case repository == "gcr.io/distroless/static-debian12", repository == "gcr.io/distroless/static":
		image, err = m.Distroless(ctx, strings.Contains(tag, "nonroot"))
		return image, "base-files, time zones and CA certificates, of a debootstrapped Debian 12", err
	case repository == "busybox":
		image, err = Busybox()
		return image, "this machine's static busybox", err
	}
	return nil, "", nil
}

// Golang is this machine's Go toolchain on Debian, in the place of golang:…-bookworm.
func (m *Maker) Golang(ctx context.Context) (v1.Image, error) {
	debian, err := m.Debian(ctx)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("ask go where it lives: %w", err)
	}
	answers := strings.Fields(string(out))
	if len(answers) != 2 {
		return nil, fmt.Errorf("go env GOROOT GOVERSION answered %q", out)
	}
	root, version := answers[0], answers[1]
	layer, err := m.layer(fmt.Sprintf("%s-linux-%s", version, runtime.GOARCH), func(archive *tar.Writer) error {
		fmt.Fprintf(m.Log, "packing %s of this machine; it is kept in %s\n", version, m.Cache)
		return addToolchain(archive, root)
	})
	if err != nil {
		return nil, err
	}
	return Compose(debian, []Step{{CreatedBy: "COPY " + version + " /usr/local/go", Layer: layer}}, func(c *v1.Config) {
		c.Env = []string{
			"PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"GOPATH=/go", "GOTOOLCHAIN=local", "GOLANG_VERSION=" + strings.TrimPrefix(version, "go"),
		}
		c.WorkingDir = "/go"
	})
}

// addToolchain writes what compiling and testing needs of a GOROOT.
func addToolchain(archive *tar.Writer, root string) error {
	for _, dir := range []string{"usr/local/go", "go", "go/bin", "go/pkg", "go/src"} {
		if err := addDir(archive, dir, 0o755, 0); err != nil {
			return err
		}
	}
	return tree{root: root, prefix: "usr/local/go", asRoot: true, skip: unusedByBuilds}.write(archive)
}

// unusedByBuilds tells what of a GOROOT neither go build nor go test reads.
func unusedByBuilds(name string) bool {
	switch top, _, _ := strings.Cut(name, "/"); top {
	case "bin", "lib", "pkg", "src", "VERSION", "go.env":
	default:
		return true
	}
	return strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "/testdata") || name == "src/cmd"
}

// Distroless is the little that a static program needs, in the place of
// gcr.io/distroless/static-debian12: no shell, no package manager, a list of its
// packages for scanners, and a user 65532.
func (m *Maker) Distroless(ctx context.Context, nonroot bool) (v1.Image, error) {
	debian, err := m.debianLayer(ctx)
	if err != nil {
		return nil, err
	}
	layer, err := m.layer(fmt.Sprintf("static-%s-%s", suite, runtime.GOARCH), func(archive *tar.Writer) error {
		tree, err := debian.Uncompressed()
		if err != nil {
			return err
		}
		defer tree.Close()
		if err := copyStatic(archive, tar.NewReader(tree)); err != nil {
			return err
		}
		return addUsers(archive)
	})
	if err != nil {
		return nil, err
	}
	return Compose(nil, []Step{{CreatedBy: "base-files, tzdata, ca-certificates", Layer: layer}}, func(c *v1.Config) {
		c.Env = []string{searchPath, "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"}
		c.User, c.WorkingDir = "0", "/"
		if nonroot {
			c.User, c.WorkingDir = "65532", "/home/nonroot"
		}
	})
}

// staticPackages are the Debian packages whose files the static base holds.
func staticPackages() []string { return []string{"base-files", "tzdata"} }

// copyStatic copies the few files that matter of the tree of a Debian.
func copyStatic(archive *tar.Writer, tree *tar.Reader) error {
	for {
		header, err := tree.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch name := header.Name; {
		case name == "etc/debian_version", name == "etc/os-release", name == "usr/lib/os-release", name == "etc/localtime",
			strings.HasPrefix(name, "usr/share/zoneinfo/"), isFolderOf(name, "etc", "usr", "usr/lib", "usr/share", "var", "var/lib", "var/lib/dpkg"):
			header.Format = tar.FormatPAX
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
			if _, err := io.Copy(archive, tree); err != nil {
				return err
			}
		case name == "var/lib/dpkg/status":
			if err := splitStatus(archive, tree); err != nil {
				return err
			}
		case strings.HasPrefix(name, "var/lib/dpkg/info/") && strings.HasSuffix(name, ".md5sums"):
			if err := copySums(archive, tree, strings.TrimPrefix(name, "var/lib/dpkg/info/")); err != nil {
				return err
			}
		}
	}
}

func isFolderOf(name string, dirs ...string) bool {
	for _, dir := range dirs {
		if name == dir+"/" {
			return true
		}
	}
	return false
}

// splitStatus writes the packages' paragraphs of dpkg's status as files of
// status.d, where distroless images have them.
func splitStatus(archive *tar.Writer, status io.Reader) error {
	text, err := io.ReadAll(status)
	if err != nil {
		return err
	}
	for paragraph := range bytes.SplitSeq(text, []byte("\n\n")) {
		for _, name := range staticPackages() {
			if bytes.HasPrefix(paragraph, []byte("Package: "+name+"\n")) {
				if err := addText(archive, "var/lib/dpkg/status.d/"+name, 0o644, string(paragraph)+"\n"); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func copySums(archive *tar.Writer, sums io.Reader, file string) error {
	for _, name := range staticPackages() {
		if file != name+".md5sums" {
			continue
		}
		text, err := io.ReadAll(sums)
		if err != nil {
			return err
		}
		return addText(archive, "var/lib/dpkg/status.d/"+file, 0o644, string(text))
	}
	return nil
}

// hostCertificates is where Debian and Ubuntu keep the bundle of all CAs.
const hostCertificates = "/etc/ssl/certs/ca-certificates.crt"

func addUsers(archive *tar.Writer) error {
	certificates, err := os.ReadFile(hostCertificates)
	if err != nil {
		return fmt.Errorf("%w; run: apt-get install ca-certificates", err)
	}
	return errors.Join(
		addText(archive, "etc/passwd", 0o644, "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"),
		addText(archive, "etc/group", 0o644, "root:x:0:\nnobody:x:65534:\ntty:x:5:\nnonroot:x:65532:\n"),
		addText(archive, "etc/nsswitch.conf", 0o644, "hosts: files dns\n"),
		addDir(archive, "etc/ssl", 0o755, 0),
		addDir(archive, "etc/ssl/certs", 0o755, 0),
		addText(archive, "etc/ssl/certs/ca-certificates.crt", 0o644, string(certificates)),
		addDir(archive, "home", 0o755, 0),
		addDir(archive, "home/nonroot", 0o700, 65532),
		addDir(archive, "root", 0o700, 0),
		addDir(archive, "tmp", 0o1777, 0),
	)
}
