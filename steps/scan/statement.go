package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/step"
)

// The statement about an image's packages: what build calls one that its builder
// made, in a file of the same name.
const (
	statementFormat    = formatSPDX
	statementPredicate = "https://spdx.dev/Document"
	statementFile      = "sbom.intoto.json"
)

// statement is an in-toto statement.
// Format: https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/statement.md
type statement struct {
	Type          string             `json:"_type"`
	Subject       []statementSubject `json:"subject"`
	PredicateType string             `json:"predicateType"`
	Predicate     json.RawMessage    `json:"predicate"`
}

type statementSubject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// wantsStatement tells whether build was asked for a list of packages and left
// it to scan. It removes those of an earlier scan.
func wantsStatement(job *step.Job, source string) (bool, error) {
	if source != "" {
		return false, nil
	}
	build, err := record.Read[record.Build](job.Workspace, "build")
	if errors.Is(err, record.ErrNotFound) {
		return false, nil
	}
	if err != nil || !build.SBOM {
		return false, err
	}
	reports := filepath.Join(job.Workspace, "reports")
	entries, err := os.ReadDir(reports)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "sbom") && strings.HasSuffix(e.Name(), ".intoto.json") {
			if err := os.Remove(filepath.Join(reports, e.Name())); err != nil {
				return false, fmt.Errorf("statement of an earlier run: %w", err)
			}
		}
	}
	return true, nil
}

// writeStatements writes a statement for each image and returns how they are
// recorded.
func (o *outcome) writeStatements(workspace string) ([]record.Attestation, error) {
	var all []record.Attestation
	for _, one := range o.all {
		digest, platform := one.image.Digest, one.image.Platform.String()
		path := filepath.Join("reports", statementFile)
		if len(o.all) > 1 {
			path = ofPlatform(path, platform)
		}
		s := statement{
			Type:          "https://in-toto.io/Statement/v1",
			Subject:       []statementSubject{{"_", map[string]string{digest.Algorithm: digest.Hex}}}, // names are push's
			PredicateType: statementPredicate,
			Predicate:     o.documents[document{statementFormat, digest}],
		}
		if err := writeFile(filepath.Join(workspace, path), func(w io.Writer) error { return json.NewEncoder(w).Encode(s) }); err != nil {
			return nil, fmt.Errorf("statement: %w", err)
		}
		all = append(all, record.Attestation{PredicateType: statementPredicate, Path: filepath.ToSlash(path), Digest: digest.String(), Platform: platform})
	}
	return all, nil
}

// writeFile replaces a file, and makes its directory.
func writeFile(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, 0o644, write)
}
