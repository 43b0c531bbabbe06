package analysis

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/licensing"
	"github.com/aquasecurity/trivy/pkg/licensing/expression"
	"golang.org/x/text/encoding/charmap"
)

// maxLicenses bounds the licences of one package.
const maxLicenses = 100

// pomPackage returns whose pom.xml that is, by its path.
func pomPackage(name string) (pkg string, ok bool) {
	dir, ok := strings.CutPrefix(name, "META-INF/maven/")
	if !ok {
		return "", false
	}
	dir, ok = strings.CutSuffix(dir, "/"+filePom)
	group, artifact, found := strings.Cut(dir, "/")
	return group + ":" + artifact, ok && found && group != "" && artifact != ""
}

// pomLicenses returns the licences a pom.xml names. One that cannot be read
// names none: licences are not what a scan looks for.
func pomLicenses(data []byte) []string {
	var pom struct {
		Licenses []struct {
			Name string `xml:"name"`
			URL  string `xml:"url"`
		} `xml:"licenses>license"`
	}
	d := xml.NewDecoder(bytes.NewReader(data))
	d.CharsetReader = func(label string, input io.Reader) (io.Reader, error) {
		switch strings.ToLower(label) {
		case "iso-8859-1", "windows-1252", "us-ascii":
			return charmap.Windows1252.NewDecoder().Reader(input), nil
		}
		return nil, fmt.Errorf("encoding %q is not understood", label)
	}
	if err := d.Decode(&pom); err != nil {
		return nil
	}
	var names []string
	for _, l := range pom.Licenses[:min(len(pom.Licenses), maxLicenses)] {
		name := strings.TrimSpace(l.Name)
		if name == "" {
			name, _ = licensing.SPDXLicenseIDByURL(l.URL)
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// addPomLicenses gives packages in an archive the licences of its pom.xml files,
// where they have none.
func addPomLicenses(pkgs []ftypes.Package, byName map[string][]string) {
	for i := range pkgs {
		if p := &pkgs[i]; len(p.Licenses) == 0 {
			p.Licenses = slices.Clone(byName[p.Name])
		}
	}
}

// addManifestLicenses gives those to the package that the archive at file is, if
// it is just one.
func addManifestLicenses(pkgs []ftypes.Package, file string, names []string) {
	var own *ftypes.Package
	for i := range pkgs {
		if pkgs[i].FilePath != file {
			continue
		}
		if own != nil {
			return
		}
		own = &pkgs[i]
	}
	if own != nil && len(own.Licenses) == 0 {
		own.Licenses = names
	}
}

// licenses are those of a Jenkins plugin, else those of an OSGi bundle.
func (m manifest) licenses() []string {
	if len(m.pluginLicenses) > 0 {
		return slices.Clone(m.pluginLicenses)
	}
	var ids []string
	for _, entry := range splitUnquoted(m.attributes["Bundle-License"], ',') {
		if id, ok := bundleLicense(entry); ok && len(ids) < maxLicenses {
			ids = append(ids, id)
		}
	}
	return ids
}

// bundleLicense returns the SPDX identifier of one licence of a bundle: an
// identifier or an address, with attributes after semicolons
// (https://docs.osgi.org/specification/osgi.core/8.0.0/framework.module.html#framework.module-bundle-license).
func bundleLicense(entry string) (id string, ok bool) {
	fields := splitUnquoted(entry, ';')
	name := strings.Trim(fields[0], ` "`)
	if id, ok = expression.SPDXLicenseID(name); ok {
		return id, true
	}
	if id, ok = licensing.SPDXLicenseIDByURL(name); ok {
		return id, true
	}
	link := ""
	for _, attribute := range fields[1:] {
		if key, value, ok := strings.Cut(attribute, "="); ok && strings.TrimSpace(key) == "link" {
			link = strings.Trim(value, ` "`)
		}
	}
	return licensing.SPDXLicenseIDByURL(link)
}

// splitUnquoted splits s at each sep that is not between double quotes, where a
// backslash keeps the next byte from ending them.
func splitUnquoted(s string, sep byte) []string {
	var fields []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			fields = append(fields, s[start:i])
			start = i + 1
		}
	}
	return append(fields, s[start:])
}
