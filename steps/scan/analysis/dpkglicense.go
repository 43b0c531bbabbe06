package analysis

import (
	"bufio"
	"bytes"
	"context"
	"path"
	"strings"

	"github.com/aquasecurity/trivy/pkg/licensing"
)

const nameDpkgLicense = "dpkg-license"

// maxLicenseName bounds what is taken for a licence's name (bytes): longer ones
// are the licence itself.
const maxLicenseName = 1024

// Copyright is a Debian package's copyright file: dpkg itself knows no licences.
type Copyright struct {
	Path     string   `json:"path"`
	Package  string   `json:"package"`
	Licenses []string `json:"licenses"`
}

func dpkgCopyright(p string) bool {
	ok, err := path.Match("usr/share/doc/*/copyright", p)
	return ok && err == nil
}

// copyright notes the licences that a package's copyright file names.
func (l *layer) copyright(_ context.Context, p string, c *content) error {
	licenses := copyrightLicenses(c)
	if len(licenses) > 0 {
		found := Copyright{Path: p, Package: path.Base(path.Dir(p)), Licenses: licenses}
		if i, twice := l.copyrights[p]; twice { // the later entry is the file
			l.result.Copyrights[i] = found
			return nil
		}
		l.copyrights[p] = len(l.result.Copyrights)
		l.result.Copyrights = append(l.result.Copyrights, found)
	}
	return nil
}

// copyrightLicenses reads both what
// https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/ calls for
// and references to the licences that every Debian system carries. They only
// adorn reports: what can't be read is no loss.
func copyrightLicenses(c *content) []string {
	var names []string
	seen := map[string]bool{}
	note := func(name string, split func(string) []string) {
		if name == "" || len(name) > maxLicenseName || seen[name] {
			return
		}
		seen[name] = true
		names = append(names, split(name)...)
	}
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if name, ok := bytes.CutPrefix(lines.Bytes(), []byte("License:")); ok {
			note(licenseName(string(name)), licensing.SplitLicenses)
		} else if _, name, ok := bytes.Cut(lines.Bytes(), []byte("/usr/share/common-licenses/")); ok {
			note(commonLicense(name), func(s string) []string { return []string{s} })
		}
	}
	return licensing.NormalizeLicenses(names)
}

// licenseName undresses "The MIT License (MIT)" and other prose.
func licenseName(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "(")
	s = strings.TrimPrefix(s, "The main library is licensed under ")
	return strings.TrimSpace(strings.TrimSuffix(s, " license"))
}

// commonLicense returns the name at the start of s, without the punctuation
// that may follow it in a sentence: two bytes or more, the last no dot or dash.
func commonLicense(s []byte) string {
	alphanumeric := func(b byte) bool {
		return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z'
	}
	end := 0
	for end < len(s) && (alphanumeric(s[end]) || bytes.IndexByte([]byte("_.+-"), s[end]) >= 0) {
		end++
	}
	for end > 0 && !alphanumeric(s[end-1]) && s[end-1] != '+' {
		end--
	}
	if end < 2 {
		return ""
	}
	return string(s[:end])
}
