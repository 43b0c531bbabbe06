package analysis

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/imagewright/imagewright/steps/scan/javaindex"
)

// maxCoordinate bounds a group, a name or a version in Maven, bytes.
const maxCoordinate = 1024

// javaFileName is how Maven calls a jar: artifact and version.
var javaFileName = regexp.MustCompile(`^([a-zA-Z0-9\._-]*[^-*])-(\d\S*(?:-SNAPSHOT)?).jar$`)

// fromFileName returns the artifact, without its group, that a file is called
// after, or nothing.
func fromFileName(file string) javaindex.Artifact {
	m := javaFileName.FindStringSubmatch(path.Base(file))
	if m == nil {
		return javaindex.Artifact{}
	}
	return javaindex.Artifact{ArtifactID: m[1], Version: m[2]}
}

// parsePomProperties reads what Maven writes into the archives it makes.
func parsePomProperties(data []byte) (javaindex.Artifact, error) {
	var a javaindex.Artifact
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "groupId":
			a.GroupID = value
		case "artifactId":
			a.ArtifactID = value
		case "version":
			a.Version = value
		default:
			continue
		}
		if len(value) > maxCoordinate {
			return a, fmt.Errorf("%w: %s has more than %d bytes", errTooLarge, key, maxCoordinate)
		}
	}
	return a, nil
}

// manifest is the main section of a MANIFEST.MF: what it says of the archive
// itself.
type manifest struct {
	attributes     map[string]string
	pluginLicenses []string // of Jenkins
}

// parseManifest reads the main section, which ends at the first empty line. A
// line that starts with a space continues the one before
// (https://docs.oracle.com/en/java/javase/21/docs/specs/jar/jar.html#jar-manifest).
func parseManifest(data []byte) manifest {
	m := manifest{attributes: map[string]string{}}
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
	var attribute strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			break
		}
		if more, ok := strings.CutPrefix(line, " "); ok {
			attribute.WriteString(more)
			continue
		}
		m.add(attribute.String())
		attribute.Reset()
		attribute.WriteString(line)
	}
	m.add(attribute.String())
	return m
}

// add takes one attribute. One whose value stands in another file (%name) says
// nothing, and Trivy asks for a space before the value.
func (m *manifest) add(line string) {
	fields := strings.Fields(line)
	if len(fields) < 2 || strings.HasPrefix(fields[1], "%") {
		return
	}
	key, value, ok := strings.Cut(line, ":")
	switch {
	case !ok:
	case key == "Plugin-License-Name" || strings.HasPrefix(key, "Plugin-License-Name-"):
		if value = strings.TrimSpace(value); value != "" && len(m.pluginLicenses) < maxLicenses {
			m.pluginLicenses = append(m.pluginLicenses, value)
		}
	case wantedAttribute(key):
		m.attributes[key] = value
	}
}

// wantedAttribute reports whether the attribute says what an archive is.
func wantedAttribute(key string) bool {
	switch key {
	case "Implementation-Vendor-Id", "Implementation-Vendor", "Implementation-Title", "Implementation-Version",
		"Specification-Vendor", "Specification-Title", "Specification-Version",
		"Bundle-SymbolicName", "Bundle-Name", "Bundle-Version", "Bundle-License":
		return true
	}
	return false
}

// artifact is what the archive calls itself, in the order Trivy believes it. It
// may be no name that Maven Central knows.
func (m manifest) artifact() javaindex.Artifact {
	symbolic := m.attributes["Bundle-SymbolicName"]
	if i := strings.LastIndexByte(symbolic, '.'); i > 0 { // the last part is the artifact's
		symbolic = symbolic[:i]
	}
	a := javaindex.Artifact{
		GroupID:    firstOf(m.attributes["Implementation-Vendor-Id"], symbolic, m.attributes["Implementation-Vendor"], m.attributes["Specification-Vendor"]),
		ArtifactID: firstOf(m.attributes["Implementation-Title"], m.attributes["Specification-Title"], m.attributes["Bundle-Name"]),
		Version:    firstOf(m.attributes["Implementation-Version"], m.attributes["Specification-Version"], m.attributes["Bundle-Version"]),
	}
	if max(len(a.GroupID), len(a.ArtifactID), len(a.Version)) > maxCoordinate {
		return javaindex.Artifact{}
	}
	return a
}

// firstOf returns the first value that is there.
func firstOf(values ...string) string { return strings.TrimSpace(cmp.Or(values...)) }
