package scan

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/goccy/go-yaml"
	"github.com/package-url/packageurl-go"
)

// ignore is an entry of an ignore file: a finding that somebody looked at and
// accepts.
type ignore struct {
	ID        string
	Paths     []string // globs; nil for any
	PURLs     []packageurl.PackageURL
	Statement string // why
	Expires   time.Time

	line int // in its file; 0 when unknown
	used bool
}

// ignoreFile is a file of entries, those that hold and those that are over.
type ignoreFile struct {
	name                              string // as the user calls it
	vulnerabilities, secrets, expired []*ignore
}

// ignores are all ignore files that count.
type ignores []ignoreFile

// parseIgnores reads an ignore file: YAML by its name's ending, or one finding
// a line.
//
// Formats: https://trivy.dev/docs/latest/configuration/filtering/. What Trivy
// would take no notice of, a misspelt key or date, is an error here: an entry
// without the limit that was meant for it accepts more than anybody wanted.
func parseIgnores(name string, data []byte, now time.Time) (ignoreFile, error) {
	file := ignoreFile{name: name}
	var err error
	switch filepath.Ext(name) {
	case ".yaml", ".yml":
		err = file.parseYAML(data)
	default:
		err = file.parseLines(data)
	}
	if err != nil {
		return file, fmt.Errorf("%s: %w", name, err)
	}
	over := func(e *ignore) bool {
		if e.Expires.IsZero() || !e.Expires.Before(now) {
			return false
		}
		if !slices.Contains(file.expired, e) { // of a line it stands in both lists
			file.expired = append(file.expired, e)
		}
		return true
	}
	file.vulnerabilities = slices.DeleteFunc(file.vulnerabilities, over)
	file.secrets = slices.DeleteFunc(file.secrets, over)
	return file, nil
}

// parseLines reads lines of an ID, and perhaps exp:YYYY-MM-DD. What follows a #
// is a comment, and taken for the reason.
func (f *ignoreFile) parseLines(data []byte) error {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		entry, comment, _ := strings.Cut(string(line), "#")
		fields := strings.Fields(entry)
		if len(fields) == 0 {
			continue
		}
		e := &ignore{ID: fields[0], Statement: strings.TrimSpace(comment), line: number}
		for _, field := range fields[1:] {
			date, ok := strings.CutPrefix(field, "exp:")
			if !ok {
				return fmt.Errorf("line %d: %q is not understood; want exp:YYYY-MM-DD, or a # before the reason", number, field)
			}
			var err error
			if e.Expires, err = time.Parse(time.DateOnly, date); err != nil {
				return fmt.Errorf("line %d: %q is no date; want exp:YYYY-MM-DD", number, field)
			}
		}
		f.vulnerabilities = append(f.vulnerabilities, e) // a line does not say what it is about
		f.secrets = append(f.secrets, e)
	}
	return nil
}

// ignoreYAML is the YAML format. What it says of other scanners is none of ours.
type ignoreYAML struct {
	Vulnerabilities   []ignoreEntry `yaml:"vulnerabilities"`
	Secrets           []ignoreEntry `yaml:"secrets"`
	Misconfigurations any           `yaml:"misconfigurations"`
	Licenses          any           `yaml:"licenses"`
}

type ignoreEntry struct {
	ID        string   `yaml:"id"`
	Paths     []string `yaml:"paths"`
	PURLs     []string `yaml:"purls"`
	ExpiredAt string   `yaml:"expired_at"` // as a time.Time, what is no date would be none
	Statement string   `yaml:"statement"`
}

func (f *ignoreFile) parseYAML(data []byte) error {
	var content ignoreYAML
	if err := yaml.UnmarshalWithOptions(data, &content, yaml.Strict()); err != nil {
		return errors.New(yaml.FormatError(err, false, false))
	}
	for _, list := range []struct {
		entries []ignoreEntry
		to      *[]*ignore
	}{{content.Vulnerabilities, &f.vulnerabilities}, {content.Secrets, &f.secrets}} {
		for _, entry := range list.entries {
			e, err := entry.parse()
			if err != nil {
				return err
			}
			*list.to = append(*list.to, e)
		}
	}
	return nil
}

func (entry ignoreEntry) parse() (*ignore, error) {
	if entry.ID == "" {
		return nil, errors.New("an entry has no id")
	}
	e := &ignore{ID: entry.ID, Paths: entry.Paths, Statement: entry.Statement}
	if at := entry.ExpiredAt; at != "" {
		var errDay, errTime error
		if e.Expires, errDay = time.Parse(time.DateOnly, at); errDay != nil {
			e.Expires, errTime = time.Parse(time.RFC3339, at)
		}
		if errTime != nil {
			return nil, fmt.Errorf("%s: expired_at: %q is no date; want YYYY-MM-DD", entry.ID, at)
		}
	}
	for _, pattern := range entry.Paths {
		if !doublestar.ValidatePattern(pattern) {
			return nil, fmt.Errorf("%s: path %q is no pattern", entry.ID, pattern)
		}
	}
	for _, text := range entry.PURLs {
		p, err := packageurl.FromString(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no package URL: %w", entry.ID, text, err)
		}
		e.PURLs = append(e.PURLs, p)
	}
	return e, nil
}
