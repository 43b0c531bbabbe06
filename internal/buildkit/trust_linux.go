package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// trustDir is where a step sees the company's authorities: on the runtime's own
// /dev, which is in memory, so that no mount point has to be made in a layer.
const trustDir = "/dev/.imagewright"

// bundles are where distributions keep the authorities they trust, as one file:
// Debian and Alpine; Fedora and Red Hat; SUSE; Alpine without ca-certificates.
//
// https://go.dev/src/crypto/x509/root_linux.go
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// trustingExecutor has every step trust the company's authorities beside those
// of its image, with no trace in a layer and none in a cache key.
//
// It tells the step's programs by variables where they are, and leaves the
// image's own files alone. With a mount over the image's bundle also those
// programs would see them that heed no variable (dnf, and what uses GnuTLS), but
// update-ca-certificates could not rename its new bundle into place (EBUSY):
// installing or upgrading the package ca-certificates would fail. And what a
// step copies out of that file would be in the image.
//
// Java has a store of its own in another format, and dnf one name in its
// configuration: for these two it takes a secret mount.
type trustingExecutor struct {
	executor.Executor
	company []byte // PEM
	system  []byte // PEM; for images without any authorities
}

// Run implements executor.Executor.
func (e *trustingExecutor) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	if slices.ContainsFunc(mounts, coversTrustDir) {
		return e.Executor.Run(ctx, id, root, mounts, process, started)
	}
	own, err := look(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("read the authorities that the image trusts: %w", err)
	}
	if own == nil {
		own = e.system
	}
	dir, err := e.write(own)
	if err != nil {
		return nil, fmt.Errorf("write the authorities for a step: %w", err)
	}
	defer os.RemoveAll(dir)
	mounts = append(slices.Clone(mounts), executor.Mount{
		Src: bound(dir), Dest: trustDir, Readonly: true,
	})
	process.Meta.Env = withTrust(process.Meta.Env)
	return e.Executor.Run(ctx, id, root, mounts, process, started)
}

// coversTrustDir says that a step has something else where trustDir would be.
func coversTrustDir(m executor.Mount) bool {
	dest := filepath.Join("/", m.Dest)
	return dest == "/" || dest == "/dev" || dest == trustDir
}

// write makes the directory that is mounted at trustDir.
func (e *trustingExecutor) write(own []byte) (dir string, err error) {
	dir, err = os.MkdirTemp("", "trust-")
	if err != nil {
		return "", err
	}
	for name, text := range map[string][]byte{
		"ca.pem":      slices.Concat(own, []byte("\n"), e.company, []byte("\n")),
		"company.pem": e.company,
		"apt.conf":    []byte("Acquire::https::CAInfo \"" + trustDir + "/ca.pem\";\n"),
		"wgetrc":      []byte("ca_certificate = " + trustDir + "/ca.pem\n"),
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	// For every user of the step, whatever the umask of this process is.
	if err := errors.Join(err, os.Chmod(dir, 0o755)); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// withTrust adds to env the variables that point programs to trustDir, where
// neither the image nor the step sets them.
func withTrust(env []string) []string {
	env = slices.Clone(env)
	add := func(file string, names ...string) {
		for _, name := range names {
			if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
				env = append(env, name+"="+trustDir+"/"+file)
			}
		}
	}
	// OpenSSL, and with it Python, Ruby and PHP; Go; Rust; .NET; uv.
	add("ca.pem", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE")
	add("company.pem", "NODE_EXTRA_CA_CERTS") // Node has the public ones built in
	add("apt.conf", "APT_CONFIG")             // read before /etc/apt, https://manpages.debian.org/apt.conf.5
	add("wgetrc", "WGETRC")                   // instead of ~/.wgetrc
	return env
}

// look returns the authorities that the image in root trusts, nil when it has
// none. The image may be hostile: nothing outside of it is read.
//
// An image without /dev is given one, as the runtime would do: BuildKit takes
// trustDir for the mount point it is not, and removes it afterwards with every
// directory above it that it has not seen before. The layer would then lack the
// empty /dev that it has without a bundle.
//
// https://github.com/moby/buildkit/blob/v0.34.2/executor/stubs.go#L49
func look(ctx context.Context, root executor.Mount) (found []byte, err error) {
	mountable, err := root.Src.Mount(ctx, root.Readonly)
	if err != nil {
		return nil, err
	}
	mounts, release, err := mountable.Mount()
	if err != nil {
		return nil, err
	}
	if release != nil {
		defer func() { err = errors.Join(err, release()) }()
	}
	var hasDev bool
	err = mount.WithReadonlyTempMount(ctx, mounts, func(dir string) error {
		found = findBundle(dir)
		path, err := fs.RootPath(dir, "/dev")
		if err == nil {
			_, err = os.Lstat(path)
		}
		hasDev = err == nil
		return nil
	})
	if err != nil || hasDev || root.Readonly {
		return found, err
	}
	return found, mount.WithTempMount(ctx, mounts, func(dir string) error {
		return executor.CreateMountStubs(dir, []string{"/dev"}, 0, 0)
	})
}

// systemBundle returns the authorities that this machine trusts, nil for none.
func systemBundle() []byte { return findBundle("/") }

// findBundle returns the first of bundles below root. Symbolic links are
// followed as if root were "/".
func findBundle(root string) []byte {
	for _, name := range bundles {
		path, err := fs.RootPath(root, name)
		if err != nil {
			continue
		}
		if text := certificates(path); text != nil {
			return text
		}
	}
	return nil
}

// certificates returns file path if it may well be a bundle.
func certificates(path string) []byte {
	// Not to wait for who writes to a named pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() > maxBundle {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBundle))
	if err != nil || !bytes.Contains(text, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil
	}
	return text
}

// bound is a directory of this machine as the source of a mount.
type bound string

// Mount implements executor.Mountable.
func (b bound) Mount(context.Context, bool) (executor.MountableRef, error) { return boundMount(b), nil }

type boundMount string

// Mount implements executor.MountableRef.
func (b boundMount) Mount() ([]mount.Mount, func() error, error) {
	return []mount.Mount{{
		Type: "bind", Source: string(b), Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"},
	}}, func() error { return nil }, nil
}

// IdentityMapping implements executor.MountableRef.
func (b boundMount) IdentityMapping() *user.IdentityMapping { return nil }
