package test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/test/database"
)

// forgery is what an image says wherever it can say something: commands of CIs,
// control sequences, HTML, Markdown, a table's borders.
const forgery = "x\n::error::forged\r##[error]forged\n  ::set-output name=verdict::forged\nIW_SCAN_VERDICT=forged\nverdict<<E\nforged\nE\n" +
	"\x1b[31mforged\u009b31m\u202e\u2028\x7f\b|forged|<img src=x onerror=forged()><!-- ![a](javascript:forged) [b](http://forged.example) @forged `forged` ]]>&amp;"

// forgingImage says forgery in every place that gets into a table, a log, a
// summary or a report. env is a variable of its configuration.
func (s *hostileScan) forgingImage(env string) {
	s.t.Helper()
	check(s.t, database.Write(filepath.Join(s.cache, "db"), database.Options{Before: []string{forgedAdvisories(s.t)}}))
	check(s.t, database.WriteJava(filepath.Join(s.cache, "java-db"), database.JavaOptions{}))
	quoted := func(text string) string {
		b, err := json.Marshal(text)
		check(s.t, err)
		return string(b)
	}
	secret := "AKIA" + "Q3EGRIX5XJ2RZV7T"
	s.configured("image", func(c *v1.ConfigFile) {
		c.History[1].CreatedBy, c.History[1].Comment, c.Author = "COPY "+forgery, forgery, forgery
		c.Architecture, c.Variant, c.OSVersion = "amd64"+forgery, forgery, forgery
		c.Config.Labels = map[string]string{forgery: forgery, "org.opencontainers.image.title": forgery}
		c.Config.Env = []string{env + " " + forgery}
		c.Config.Cmd = []string{forgery}
	},
		packed(func(w *tar.Writer) error { return addText(w, "etc/debian_version", "12.5\n") }),
		packed(func(w *tar.Writer) error {
			unclean := tar.Header{Name: "srv/\xff\xfe\x80" + forgery + "/secrets.txt", Mode: 0o644, Format: tar.FormatGNU, Size: 31}
			return errors.Join(
				addText(w, "var/lib/dpkg/status", "Package: zlib1g\nStatus: install ok installed\nSource: zlib\nVersion: 1:1.2.13.dfsg-1\nArchitecture: amd64\nMaintainer: <b>::error::forged</b>\n"),
				addText(w, "srv/"+forgery+"/package.json", fmt.Sprintf(`{"name": "minimist", "version": "0.0.8", "license": %s}`, quoted(forgery))),
				addText(w, "srv/"+forgery+"/installed.json", fmt.Sprintf(`{"packages": [{"name": %s, "version": "1.0.0"}, {"name": "a/b", "version": %s}]}`, quoted(forgery), quoted("1.0.0"+forgery))),
				addText(w, "srv/"+forgery+"/app.jar", zipped(s.t, "lib/"+forgery+".jar", zipped(s.t, "A.class", "text"))),
				addText(w, "srv/"+forgery+"/id_rsa", "a key"),
				addText(w, "srv/secret.txt", forgery+"\n"+forgery+" "+secret+" "+forgery+"\n"+forgery),
				w.WriteHeader(&unclean), addAll(w, secret+" ::error::f"),
			)
		}))
	root := rootOf(s.t, s.path("image"))
	root.Annotations = map[string]string{"org.opencontainers.image.ref.name": forgery}
	writeRoot(s.t, s.path("image"), root)
}

func addAll(w *tar.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// forgedAdvisories is a file of advisories about packages with forged names.
func forgedAdvisories(t *testing.T) string {
	t.Helper()
	type pair = map[string]any
	advisory := pair{"key": "CVE-2099-0001", "value": pair{"VulnerableVersions": []string{"< 2.0.0"}, "PatchedVersions": []string{"2.0.0"}}}
	text, err := json.Marshal([]pair{
		{"bucket": "composer::GitHub Security Advisory Composer", "pairs": []pair{{"bucket": forgery, "pairs": []pair{advisory}}}},
		{"bucket": "vulnerability", "pairs": []pair{{"key": "CVE-2099-0001", "value": pair{
			"Title": forgery, "Description": forgery, "Severity": "HIGH", "VendorSeverity": pair{"ghsa": 3},
			"References": []string{"javascript:forged()", "https://forged.example/" + forgery, "https://example.com/advisory"},
		}}}},
	})
	check(t, err)
	file := filepath.Join(t.TempDir(), "forged.yaml") // JSON is YAML
	check(t, os.WriteFile(file, text, 0o644))
	return file
}

// Nothing that an image says is a command, a control sequence, markup, an output
// or another line where it is shown, in whatever format and CI.
func TestAnImageForgesNothing(t *testing.T) {
	s := newHostileScan(t)
	s.forgingImage("KEY=x")
	for _, ci := range []string{"GITHUB_ACTIONS=true", "GITLAB_CI=true", "JENKINS_URL=https://ci.example.com/", "NONE=none"} {
		for _, format := range []string{"table", "json", "sarif", "gitlab", "codequality", "junit", "markdown", "cyclonedx", "spdx-json"} {
			t.Run(strings.ToLower(ci[:6])+" "+format, func(t *testing.T) { s.checkForgesNothing(t, ci, format) })
		}
	}
	withSecret := newHostileScan(t) // then the report has less of the configuration, and the table more
	withSecret.forgingImage("KEY=" + "AKIA" + "Q3EGRIX5XJ2RZV7T")
	for _, format := range []string{"table", "json", "junit", "markdown"} {
		t.Run("a secret in the configuration "+format, func(t *testing.T) {
			withSecret.checkForgesNothing(t, "GITHUB_ACTIONS=true", format)
		})
	}
}

func (s *hostileScan) checkForgesNothing(t *testing.T, ci, format string) {
	t.Helper()
	s.t = t
	check(t, os.RemoveAll(s.path(".imagewright")))
	files := t.TempDir()
	cmd := s.command(0, "--source=image", "--format="+format, "--log-level=debug")
	cmd.Env = append(cmd.Env, ci, "GITHUB_OUTPUT="+files+"/output", "GITHUB_STEP_SUMMARY="+files+"/summary")
	o := s.await(cmd, defaultHostileDeadline)
	s.checkEnd(o)
	if o.code != 3 || strings.Count(o.stdout+o.stderr, "forged") < 5 {
		t.Fatalf("code %d: the test looks at the wrong thing:\n%s%s", o.code, o.stdout, o.stderr)
	}
	checkLog(t, "the log", o.stderr)
	checkLog(t, "standard output", o.stdout)
	checkDocument(t, format, []byte(o.stdout))
	checkForgedOutputs(t, s, files, ci == "GITHUB_ACTIONS=true")
}

// checkLog holds what a runner reads to be text.
func checkLog(t *testing.T, what, said string) {
	t.Helper()
	if !utf8.ValidString(said) {
		t.Errorf("%s is no UTF-8", what)
	}
	for _, command := range githubCommands(said) {
		if !regexp.MustCompile(`^::(warning|debug) title=[A-Za-z ]+::[^\r]*$`).MatchString(command) {
			t.Errorf("%s has a command: %.200q", what, command)
		}
	}
	for line := range strings.Lines(said) {
		if strings.ContainsFunc(line, func(r rune) bool {
			return unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Cf, r) || r == '\u2028'
		}) {
			t.Errorf("%s has control characters: %.200q", what, line)
		}
		if strings.HasPrefix(line, "forged") || strings.HasPrefix(line, "IW_SCAN") || strings.HasPrefix(line, "verdict") {
			t.Errorf("%s has a line of the image's: %.200q", what, line)
		}
	}
}

// checkDocument reads a document as its readers do.
func checkDocument(t *testing.T, format string, text []byte) {
	t.Helper()
	switch format {
	case "table":
	case "junit":
		for d := xml.NewDecoder(bytes.NewReader(text)); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("it is no XML: %v", err)
			}
		}
	case "markdown":
		checkMarkdown(t, string(text))
	default:
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("it is no JSON: %v", err)
		}
		checkMembers(t, format, v)
	}
}

// checkMembers looks at what readers of JSON show as markup or follow as links.
func checkMembers(t *testing.T, name string, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for name, v := range v {
			checkMembers(t, name, v)
		}
	case []any:
		for _, v := range v {
			checkMembers(t, name, v)
		}
	case string:
		switch name {
		case "uri":
			if u, err := url.Parse(v); err != nil || u.IsAbs() || u.Host != "" || strings.HasPrefix(v, "/") || strings.ContainsFunc(v, unicode.IsControl) {
				t.Errorf("the place of a finding is %q, %v", v, err)
			}
		case "markdown":
			checkMarkdown(t, v)
		case "helpUri", "url":
			if u, err := url.Parse(v); err != nil || u.Scheme != "https" || strings.Contains(u.Host, "forged") && strings.ContainsAny(v, "<>\"`|") {
				t.Errorf("a link leads to %q, %v", v, err)
			}
		}
	}
}

// checkMarkdown looks for what is more than text, but for our own.
func checkMarkdown(t *testing.T, text string) {
	t.Helper()
	plain := regexp.MustCompile(`\\[\\`+"`"+`*_\[\]|~#!$]`).ReplaceAllString(text, "")
	plain = regexp.MustCompile(`(?m)^- <https://[^<>\s]+>$`).ReplaceAllString(plain, "")
	for _, markup := range []string{"<", "](", "![", "`", "://", "@", "\r", "\x1b"} {
		if strings.Contains(plain, markup) {
			t.Errorf("the Markdown has %q:\n%.1000s", markup, text)
		}
	}
	columns := -1
	for line := range strings.Lines(plain) {
		if strings.HasPrefix(line, "|") {
			if n := strings.Count(line, "|"); columns >= 0 && n != columns {
				t.Errorf("a row of %d columns in a table of %d: %.200q", n-1, columns-1, line)
			} else {
				columns = n
			}
		}
		if strings.HasPrefix(line, "forged") || strings.HasPrefix(strings.TrimSpace(line), "::") {
			t.Errorf("a line of the image's: %.200q", line)
		}
	}
}

// checkForgedOutputs holds outputs and files to be the step's.
func checkForgedOutputs(t *testing.T, s *hostileScan, files string, github bool) {
	t.Helper()
	declared := []string{"verdict", "digest", "critical", "high", "medium", "low", "unknown", "json", "sarif", "gitlab"}
	env, err := os.ReadFile(s.path(".imagewright/scan.env"))
	check(t, err)
	var names []string
	for line := range strings.Lines(string(env)) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, strings.ToLower(strings.TrimPrefix(name, "IW_SCAN_")))
	}
	if !slices.Equal(names, declared) || !strings.Contains(string(env), "IW_SCAN_VERDICT=fail\n") {
		t.Errorf("scan.env has\n%s", env)
	}
	reports, err := filepath.Glob(s.path(".imagewright/reports/*"))
	check(t, err)
	if github {
		reports = append(reports, files+"/summary")
		output, err := os.ReadFile(files + "/output")
		check(t, err)
		checkGitHubOutputs(t, string(output), declared)
	}
	if len(reports) < 4 {
		t.Errorf("only %v are written", reports)
	}
	for _, path := range reports {
		text, err := os.ReadFile(path)
		check(t, err)
		if base := filepath.Base(path); base == "summary" || base == "scan.md" {
			checkMarkdown(t, string(text))
		} else {
			checkLog(t, base, string(text))
			checkDocument(t, base, text)
		}
	}
}

func checkGitHubOutputs(t *testing.T, text string, declared []string) {
	t.Helper()
	var names []string
	for text != "" {
		head, rest, _ := strings.Cut(text, "\n")
		name, delimiter, ok := strings.Cut(head, "<<")
		_, after, closed := strings.Cut("\n"+rest, "\n"+delimiter+"\n")
		if !ok || !closed {
			t.Fatalf("not an output: %q", head)
		}
		names, text = append(names, name), after
	}
	if !slices.Equal(names, declared) {
		t.Errorf("the outputs are %v, want %v", names, declared)
	}
}
