package build

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/record"
)

// statements are what the sources' builders said of their images. All of it is
// read before anything is written: the workspace may be a source.
func (m mergeSources) statements(images []v1.Descriptor) ([]attested, error) {
	var all []attested
	for _, source := range m {
		if len(source.build.Attestations) > maxStatements {
			return nil, fmt.Errorf("source %s: its record names more than %d attestations", ci.Printable(source.given), maxStatements)
		}
		for _, a := range source.build.Attestations {
			s, err := source.statement(a, images)
			if err != nil {
				return nil, fmt.Errorf("source %s: attestation %q: %w", ci.Printable(source.given), a.Path, err)
			}
			a.PredicateType = s.PredicateType
			a.Path = reportPath(s.PredicateType, a.Platform, len(images) > 1, all)
			all = append(all, attested{s, a})
		}
	}
	return all, nil
}

// statement reads the statement that a names, which speaks of one of images.
func (m *mergeSource) statement(a record.Attestation, images []v1.Descriptor) (statement, error) {
	var s statement
	i := slices.IndexFunc(images, func(d v1.Descriptor) bool { return d.Digest.String() == a.Digest })
	if i < 0 {
		return s, fmt.Errorf("it is of %q, which is not among the images", a.Digest)
	}
	root, err := os.OpenRoot(m.workspace) // no path leads out of it, no link either
	if err != nil {
		return s, err
	}
	defer root.Close()
	info, err := root.Lstat(a.Path)
	if err != nil {
		return s, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxStatementBytes {
		return s, fmt.Errorf("it is no regular file of at most %d bytes", maxStatementBytes)
	}
	f, err := root.Open(a.Path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxStatementBytes+1))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, err
	}
	return s, s.check(images[i].Digest)
}
