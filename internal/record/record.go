//go:build goexperiment.jsonv2

package record

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/fault"
)

// Version is the format that this package reads and writes.
const Version = 1

const maxBytes = 16 << 20 // a record is a few kilobytes; the file may be hostile

// ErrNotFound is returned when the step has written no record yet.
var ErrNotFound = errors.New("no record")

// NewerError is returned for a record that a newer Imagewright wrote.
type NewerError struct {
	Path    string
	Version int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s has version %d; this program reads up to %d", e.Path, e.Version, Version)
}

// ExitCode is that of a usage error.
func (e *NewerError) ExitCode() int { return fault.ExitUsage }

// Hint says what to do.
func (e *NewerError) Hint() string {
	return "use the same version of Imagewright in every step of a pipeline"
}

// Header stands in every record. Fields that this version does not know are
// kept when a record is read and written again.
type Header struct {
	Version int            `json:"version"`
	Unknown jsontext.Value `json:",unknown"`
}

// Image names what a build made.
type Image struct {
	Digest    string   `json:"digest"` // of the manifest or index
	MediaType string   `json:"mediaType"`
	Size      int64    `json:"size"` // compressed bytes of config and layers
	Platforms []string `json:"platforms"`
}

// Source is the commit that was built. A field is empty where nothing told.
type Source struct {
	Repository string    `json:"repository,omitempty"` // web address
	Revision   string    `json:"revision,omitempty"`
	Ref        string    `json:"ref,omitempty"` // refs/heads/…, refs/tags/…
	Date       time.Time `json:"date,omitzero"` // of the commit, UTC
}

// Material is an image that a build began with.
type Material struct {
	Name     string `json:"name"`   // as the Dockerfile has it
	Digest   string `json:"digest"` // what the name meant then
	Platform string `json:"platform,omitempty"`
}

// Attestation is a file of the workspace that says something of the image.
type Attestation struct {
	PredicateType string `json:"predicateType"`      // what kind of thing it says
	Path          string `json:"path"`               // of the in-toto statement, in the workspace
	Digest        string `json:"digest"`             // of the manifest that it speaks of
	Platform      string `json:"platform,omitempty"` // of that manifest
}

// Build is record/build.json.
type Build struct {
	Header       `json:",inline"`
	Image        Image         `json:"image"`
	Names        []string      `json:"names,omitempty"` // references that it was built to have
	Source       Source        `json:"source"`
	Materials    []Material    `json:"materials,omitempty"`
	Attestations []Attestation `json:"attestations,omitempty"`
	SBOM         bool          `json:"sbom,omitzero"` // scan is asked to list the packages, push to attach that
}

// Verdict is what a scan decided.
type Verdict string

// The verdicts. Whatever is not Pass is no pass: a scan that gave up leaves
// Fail or no record at all.
const (
	Pass Verdict = "pass"
	Fail Verdict = "fail"
)

// Database is the vulnerability database that a scan used.
type Database struct {
	Repository string    `json:"repository,omitempty"`
	Digest     string    `json:"digest,omitempty"` // of its OCI artifact
	Version    int       `json:"version"`          // of its schema
	UpdatedAt  time.Time `json:"updatedAt,omitzero"`
}

// Scan is record/scan.json.
type Scan struct {
	Header    `json:",inline"`
	Digest    string         `json:"digest"` // what was scanned
	Verdict   Verdict        `json:"verdict"`
	FailOn    []string       `json:"failOn"`
	Counts    map[string]int `json:"counts"` // by severity, in upper case
	Database  Database       `json:"database"`
	ScannedAt time.Time      `json:"scannedAt,omitzero"`

	// Scanners and PkgTypes are what was looked for, as the inputs of scan name
	// it. Without them it was everything.
	Scanners []string `json:"scanners,omitempty"`
	PkgTypes []string `json:"pkgTypes,omitempty"`

	Attestations []Attestation `json:"attestations,omitempty"` // that build left to scan
}

// Tag is record/tag.json: names only; repositories are push's input.
type Tag struct {
	Header `json:",inline"`
	Digest string   `json:"digest,omitempty"` // what build had made then
	Tags   []string `json:"tags"`             // narrow to wide: the image's version, then what moves
}

// Target is one repository of a push.
type Target struct {
	Repository string   `json:"repository"`
	Digest     string   `json:"digest"`
	Tags       []string `json:"tags"`
	BytesSent  int64    `json:"bytesSent"`
}

// Push is record/push.json.
type Push struct {
	Header  `json:",inline"`
	Digest  string   `json:"digest"`
	Targets []Target `json:"targets"`
}

// path is where step's record stands in workspace.
func path(workspace, step string) string {
	return filepath.Join(workspace, "record", step+".json")
}

// Read returns step's record in workspace (an absolute path, usually ending in
// .imagewright) as a T, one of the types above.
//
// Errors: [ErrNotFound] when the step has written none; [*NewerError] when a
// newer Imagewright wrote it. Anything else is damage.
func Read[T any](workspace, step string) (T, error) {
	var record T
	name := path(workspace, step)
	data, err := readBounded(name)
	if errors.Is(err, fs.ErrNotExist) {
		return record, fmt.Errorf("record of %s: %w", step, ErrNotFound)
	}
	if err != nil {
		return record, fmt.Errorf("record of %s: %w", step, err)
	}
	var head Header
	if err := json.Unmarshal(data, &head); err != nil {
		return record, damaged(name, err)
	}
	if head.Version > Version {
		return record, &NewerError{name, head.Version}
	}
	if head.Version < 1 {
		return record, damaged(name, errors.New("it has no version"))
	}
	if err := json.Unmarshal(data, &record); err != nil {
		return record, damaged(name, err)
	}
	return record, nil
}

func damaged(name string, err error) error {
	return fault.Failed(fmt.Errorf("%s is damaged: %w", name, err), "run the step that writes it again")
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(data) > maxBytes {
		err = fmt.Errorf("%s has more than %d bytes", name, maxBytes)
	}
	return data, err
}

// Write replaces step's record in workspace with record, one of the types
// above, whose version it sets. After a crash the old record or the new one is
// there.
func Write[T any, P interface {
	*T
	setVersion(int)
}](workspace, step string, record P) error {
	record.setVersion(Version)
	name := path(workspace, step)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("record of %s: %w", step, err)
	}
	return durable.WriteFile(name, 0o644, func(w io.Writer) error {
		if err := json.MarshalWrite(w, record, jsontext.WithIndent("  "), json.Deterministic(true)); err != nil {
			return err
		}
		_, err := io.WriteString(w, "\n")
		return err
	})
}

func (h *Header) setVersion(v int) { h.Version = v }

// Remove takes step's record away. That there is none is no error. A step
// removes its old record before it does what could make it untrue.
func Remove(workspace, step string) error {
	name := path(workspace, step)
	err := os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("record of %s: %w", step, err)
	}
	return durable.SyncDir(filepath.Dir(name))
}
