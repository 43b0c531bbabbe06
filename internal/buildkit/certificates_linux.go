package buildkit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/imagewright/imagewright/internal/fault"
	"golang.org/x/sys/unix"
)

// readCertificates reads what the engine and, with inSteps, RUN steps are to
// trust beside their system's certificates. The engine gets content and no
// paths: under sudo it may not be able to read what this user can.
//
// Go still reads the system's directories when SSL_CERT_FILE is set; a file the
// user had put there already is included.
//
// https://pkg.go.dev/crypto/x509#SystemCertPool
func (w *wish) readCertificates(bundle string, inSteps bool) error {
	if bundle == "" {
		return nil
	}
	pems, err := readBundle(bundle)
	if err != nil {
		return fault.Usage(fmt.Errorf("CA bundle: %w", err), "it must be a PEM file of certificates")
	}
	if inSteps {
		w.stepCAs = pems
	}
	if before := w.env["SSL_CERT_FILE"]; before != "" {
		system, err := readBundle(before)
		if err != nil {
			return fmt.Errorf("certificates of SSL_CERT_FILE: %w", err)
		}
		pems = slices.Concat(system, []byte("\n"), pems)
		delete(w.env, "SSL_CERT_FILE")
	}
	w.cas = pems
	w.CAs, w.StepCAs = contentID(w.cas), contentID(w.stepCAs)
	return nil
}

// contentID is the digest of pems, "" for none.
func contentID(pems []byte) string {
	if len(pems) == 0 {
		return ""
	}
	sum := sha256.Sum256(pems)
	return hex.EncodeToString(sum[:])
}

// certificates returns files of w's certificates, in memory only. Which there
// are can be told from the setup.
func (w *wish) certificates() (files []*os.File, err error) {
	for _, pems := range [][]byte{w.cas, w.stepCAs} {
		if len(pems) == 0 {
			continue
		}
		fd, err := unix.MemfdCreate("certificates", unix.MFD_CLOEXEC)
		if err != nil {
			closeAll(files)
			return nil, os.NewSyscallError("memfd_create", err)
		}
		f := os.NewFile(uintptr(fd), "certificates")
		files = append(files, f)
		if _, err := f.Write(pems); err != nil {
			closeAll(files)
			return nil, err
		}
	}
	return files, nil
}

// takeCertificates is the other end of certificates: it reads files into w.
func (w *wish) takeCertificates(files []*os.File) error {
	for _, part := range []struct {
		want string
		into *[]byte
	}{{w.CAs, &w.cas}, {w.StepCAs, &w.stepCAs}} {
		if part.want == "" {
			continue
		}
		if len(files) == 0 {
			return errors.New("the certificates did not come with the setup")
		}
		pems, err := io.ReadAll(io.NewSectionReader(files[0], 0, 2*maxBundle+1))
		if err != nil {
			return err
		}
		if contentID(pems) != part.want {
			return errors.New("the certificates that came are not those of the setup")
		}
		*part.into, files = pems, files[1:]
	}
	return nil
}

// unpackCertificates puts them where this process, the engine, and what it runs
// find them. So registries, ADD of an https URL and everything else in the
// engine agree.
func (s *setup) unpackCertificates(files []*os.File) error {
	w := wish{setup: *s}
	if err := w.takeCertificates(files); err != nil {
		return err
	}
	if len(w.cas) > 0 {
		path := filepath.Join(s.Temp, "ca.pem")
		if err := os.WriteFile(path, w.cas, 0o600); err != nil {
			return err
		}
		if err := os.Setenv("SSL_CERT_FILE", path); err != nil {
			return err
		}
	}
	if len(w.stepCAs) == 0 {
		return nil
	}
	// RUN steps may have any user.
	return os.WriteFile(s.StepCABundle, w.stepCAs, 0o644)
}
