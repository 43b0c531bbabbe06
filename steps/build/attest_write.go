package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/util/attestation"

	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
)

const (
	statementType = "application/vnd.in-toto+json"
	statementFile = ".intoto.json"

	maxStatementBytes = 64 << 20 // a list of packages may have some 10 MB; BuildKit takes 80
	maxStatements     = 64       // of one image: one for each stage, at most
)

// statement is an in-toto statement.
// Format: https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/statement.md
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// attested is a statement, and how it is recorded.
type attested struct {
	statement
	recorded record.Attestation
}

// readAttestations takes the statements that the builder made out of layout.
// found are the attestation manifests, which name one of built each; final are
// the images in the same order as built: the same ones, or what normalising made
// of them. What is returned speaks of final alone.
func readAttestations(layout *image.Layout, found, built, final []v1.Descriptor) ([]attested, error) {
	var all []attested
	for _, manifest := range found {
		of := manifest.Annotations[attestation.DockerAnnotationReferenceDigest]
		i := slices.IndexFunc(built, func(d v1.Descriptor) bool { return d.Digest.String() == of })
		if i < 0 {
			return nil, fmt.Errorf("attestation %s: it is of no image that was built", manifest.Digest)
		}
		statements, err := readStatements(layout, manifest, built[i].Digest)
		if err != nil {
			return nil, fmt.Errorf("attestation %s: %w", manifest.Digest, err)
		}
		platform := ""
		if final[i].Platform != nil {
			platform = final[i].Platform.String()
		}
		for _, s := range statements {
			s.Subject = []subject{{"_", map[string]string{final[i].Digest.Algorithm: final[i].Digest.Hex}}} // names are push's
			all = append(all, attested{s, record.Attestation{
				PredicateType: s.PredicateType, Path: reportPath(s.PredicateType, platform, len(final) > 1, all),
				Digest: final[i].Digest.String(), Platform: platform,
			}})
		}
	}
	return all, nil
}

// writeStatements writes all into dir, the reports of a workspace, one file each.
func writeStatements(dir string, all []attested) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, a := range all {
		if err := a.write(filepath.Join(dir, path.Base(a.recorded.Path))); err != nil {
			return err
		}
	}
	return nil
}

// readStatements returns what manifest, an attestation of the image of, holds.
func readStatements(layout *image.Layout, manifest v1.Descriptor, of v1.Hash) ([]statement, error) {
	content, err := manifestOf(layout, manifest)
	if err != nil {
		return nil, err
	}
	if len(content.Layers) > maxStatements {
		return nil, fmt.Errorf("it has more than %d statements", maxStatements)
	}
	var all []statement
	for _, desc := range content.Layers {
		if desc.MediaType != statementType {
			return nil, fmt.Errorf("it holds a %.100q; only in-toto statements are known", desc.MediaType)
		}
		s, err := readStatement(layout, desc)
		if err == nil {
			err = s.check(of)
		}
		if err != nil {
			return nil, fmt.Errorf("statement %s: %w", desc.Digest, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func readStatement(layout *image.Layout, desc v1.Descriptor) (statement, error) {
	var s statement
	if desc.Size > maxStatementBytes {
		return s, fmt.Errorf("it has %d bytes; at most %d are accepted", desc.Size, maxStatementBytes)
	}
	r, err := layout.Blob(desc)
	if err != nil {
		return s, err
	}
	defer r.Close()
	raw, err := io.ReadAll(r) // ends after desc.Size
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(raw, &s)
}

// check makes sure that s speaks of the image of. BuildKit names no subject where
// it knows no name for the image.
func (s statement) check(of v1.Hash) error {
	switch {
	case !strings.HasPrefix(s.Type, "https://in-toto.io/Statement/"):
		return fmt.Errorf("its type %.100q is not that of an in-toto statement", s.Type)
	case s.PredicateType == "" || len(s.Predicate) == 0:
		return errors.New("it has no predicate")
	case len(s.Subject) > 0 && !slices.ContainsFunc(s.Subject, func(sub subject) bool { return sub.Digest[of.Algorithm] == of.Hex }):
		return errors.New("it does not speak of the image that was built")
	}
	return nil
}

func (s statement) write(path string) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return err
	}
	return durable.WriteFile(path, 0o644, func(w io.Writer) error {
		_, err := b.WriteTo(w)
		return err
	})
}

// statementKind is the kind of a statement as its file is called.
func statementKind(predicateType string) string {
	switch {
	case strings.HasPrefix(predicateType, "https://slsa.dev/provenance/"):
		return provenanceKind
	case strings.HasPrefix(predicateType, "https://spdx.dev/"), strings.HasPrefix(predicateType, "https://cyclonedx.org/"):
		return sbomKind
	}
	return otherKind
}

// outsideNames is what a platform's name must not bring into a file's.
var outsideNames = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// reportPath is the file for a statement, in the workspace: in reports it is
// called provenance.intoto.json, for one of several platforms
// provenance-linux-amd64.intoto.json, and with a number where an image has
// several of a kind.
func reportPath(predicateType, platform string, several bool, taken []attested) string {
	base := "reports/" + statementKind(predicateType)
	if several {
		base += "-" + outsideNames.ReplaceAllString(platform, "-")
	}
	name := base + statementFile
	for n := 2; slices.ContainsFunc(taken, func(a attested) bool { return a.recorded.Path == name }); n++ {
		name = base + "-" + strconv.Itoa(n) + statementFile
	}
	return name
}

// removeOldStatements takes those of an earlier image away: they speak of
// another digest.
func removeOldStatements(dir string, keep []attested) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		ours := strings.HasSuffix(name, statementFile) &&
			(strings.HasPrefix(name, provenanceKind) || strings.HasPrefix(name, sbomKind) || strings.HasPrefix(name, otherKind))
		if !ours || slices.ContainsFunc(keep, func(a attested) bool { return path.Base(a.recorded.Path) == name }) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
