package secret

import (
	"cmp"
	"fmt"
	"slices"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

// maxReport bounds what the findings of a session take in a report, bytes: a
// thousand of them take about one megabyte.
const maxReport = 64 << 20

// add notes what was found in a chunk of f that begins at a place, or the error
// that kept it from being scanned.
func (x *Session) add(f *file, at place, found []ftypes.SecretFinding, err error) {
	if err == nil && len(found) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range found {
		at.shift(&found[i])
		x.weight += weight(&found[i])
	}
	if err == nil && x.weight > maxReport {
		err = fmt.Errorf("the secrets in this layer, up to here, are too many: they take more than %d MiB", maxReport>>20)
	}
	if err != nil {
		x.files = nil
		if x.err == nil {
			x.err = fmt.Errorf("look for secrets in %q: %w", f.path[1:], err)
		}
		return
	}
	if len(f.found) == 0 {
		x.files = append(x.files, f)
	}
	for _, s := range found {
		f.found = append(f.found, finding{at.chunk, s})
	}
}

// shift moves a finding from where it is in its chunk to where it is in the file.
func (p place) shift(f *ftypes.SecretFinding) {
	f.StartLine += p.line
	f.EndLine += p.line
	f.Offset += p.byte
	for i := range f.Code.Lines {
		f.Code.Lines[i].Number += p.line
	}
}

// weight returns about how many bytes a finding takes in a report.
func weight(f *ftypes.SecretFinding) int {
	const names = 150 // of the fields of a finding, and of a line
	n := names + len(f.Match)
	for i := range f.Code.Lines {
		l := &f.Code.Lines[i]
		n += names + len(l.Content) + len(l.Highlighted)
	}
	return n
}

func (x *Session) failure() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// Wait waits until all files are scanned and returns those with findings, by
// path, which begins with a slash. A file that was scanned twice is there twice,
// in the order of the scans.
func (x *Session) Wait() ([]ftypes.Secret, error) {
	x.chunks.Wait()
	if err := x.failure(); err != nil {
		return nil, err
	}
	slices.SortFunc(x.files, func(a, b *file) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.order, b.order))
	})
	var secrets []ftypes.Secret
	for _, f := range x.files {
		secrets = append(secrets, f.secret())
	}
	return secrets, nil
}

// secret joins what was found in a file's chunks. What is in two chunks is found
// twice, and kept as the first one has it.
func (f *file) secret() ftypes.Secret {
	slices.SortStableFunc(f.found, func(a, b finding) int { return cmp.Compare(a.chunk, b.chunk) })
	type spot struct {
		rule               string
		start, end, offset int
	}
	seen := map[spot]bool{}
	s := ftypes.Secret{FilePath: f.path}
	for _, found := range f.found {
		if at := (spot{found.RuleID, found.StartLine, found.EndLine, found.Offset}); !seen[at] {
			seen[at] = true
			s.Findings = append(s.Findings, found.SecretFinding)
		}
	}
	inOrder(s.Findings)
	return s
}
