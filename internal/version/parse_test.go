package version_test

import (
	_ "embed"
	"strings"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/version"
)

//go:embed testdata/grammar.txt
var grammar string

func TestGrammar(t *testing.T) {
	hex40 := strings.Repeat("7a3b5c9e", 5)
	hex64 := strings.Repeat("7a3b5c9e", 8)
	expand := strings.NewReplacer("{40}", hex40, "{64}", hex64)
	seen := map[string]bool{}
	for line := range strings.Lines(grammar) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		tag, want, _ := strings.Cut(expand.Replace(line), " ")
		if seen[tag] {
			t.Errorf("tag %q stands twice in the table", tag)
		}
		seen[tag] = true
		got := version.Parse(tag)
		if desc := describe(got); desc != strings.TrimSpace(want) {
			t.Errorf("Parse(%q) = %s; want %s", tag, desc, strings.TrimSpace(want))
		}
		if got.String() != tag {
			t.Errorf("Parse(%q).String() = %q; it must be the tag itself", tag, got)
		}
	}
	if len(seen) < 150 {
		t.Errorf("the table has %d tags; at least 150 are wanted", len(seen))
	}
	for _, tag := range []string{"", strings.Repeat("a", 129), "1.2.3-" + strings.Repeat("a", 123), "1.2.3\n", " 1.2.3", "latest\x00"} {
		if got := version.Parse(tag); got.Class != version.Other || got.Text != tag {
			t.Errorf("Parse(%q) = %s; want other: no registry accepts it", tag, describe(got))
		}
	}
}

// describe writes the class and the facts that are not zero.
func describe(t version.Tag) string {
	out := []string{string(t.Class)}
	add := func(name, value string) {
		if value != "" {
			out = append(out, name+"="+value)
		}
	}
	add("subject", t.Subject)
	add("prefix", t.Prefix)
	add("pre", t.Prerelease)
	add("variant", t.Variant)
	if !t.Built.IsZero() {
		add("built", t.Built.Format("20060102150405"))
	}
	add("commit", t.Commit)
	if t.Ambiguous {
		out = append(out, "ambiguous")
	}
	return strings.Join(out, " ")
}

// Lenient parsers read these as versions above 2.0.0; sort -V keeps them and
// drops 2.0.0.
func TestDatesNumbersAndCommitsAreNeverVersions(t *testing.T) {
	for _, tag := range []string{"20240101", "1234567", "0123456", "abc1234", "2024.01.15", "2024.1.15", "1", "1.2", "latest", "1e10000"} {
		if got := version.Parse(tag); got.Class == version.Version {
			t.Errorf("Parse(%q) is a version; want %q to be none", tag, tag)
		}
	}
}

func TestNumbersAreRead(t *testing.T) {
	for tag, want := range map[string][4]uint64{ // major, minor, patch, parts
		"v1.2.3-rc1": {1, 2, 3, 3}, "2024.01.15": {2024, 1, 15, 3}, "2024.06": {2024, 6, 0, 2}, "1.2": {1, 2, 0, 2}, "v7": {7, 0, 0, 1}, "latest": {0, 0, 0, 0},
	} {
		got := version.Parse(tag)
		if n := [4]uint64{got.Major, got.Minor, got.Patch, uint64(got.Parts)}; n != want {
			t.Errorf("Parse(%q): numbers %v; want %v", tag, n, want)
		}
	}
}

func TestABuildSuffixMakesNoPrerelease(t *testing.T) {
	for tag, want := range map[string]bool{
		"v1.2.3-20231125-7a3b5c9":      false,
		"1.2.3":                        false,
		"1.2.3-alpine":                 false,
		"v1.2.3-rc.1-20231125-7a3b5c9": true,
		"1.2.3-rc1-alpine":             true,
		"2024.1.15-beta":               true,
		"latest":                       false,
	} {
		if got := version.Parse(tag).IsPrerelease(); got != want {
			t.Errorf("Parse(%q).IsPrerelease() = %t; want %t", tag, got, want)
		}
	}
}

func TestFloatingNamesOfAVersion(t *testing.T) {
	for tag, want := range map[string]string{
		"1.2.3":                          "1.2 1 latest",
		"v1.2.3":                         "v1.2 v1 latest",
		"0.3.0":                          "0.3 0 latest",
		"v1.2.3-20231125-7a3b5c9":        "v1.2 v1 latest",
		"1.2.3-alpine":                   "1.2-alpine 1-alpine latest-alpine",
		"1.2.3-20231125-7a3b5c9-slim-x":  "1.2-slim-x 1-slim-x latest-slim-x",
		"1.2.3-rc1":                      "",
		"v1.2.3-rc.1-20231125-7a3b5c9":   "",
		"2024.1.15":                      "latest",
		"2024.1.15-alpine":               "latest-alpine",
		"20240101":                       "",
		"latest":                         "",
		"1.2":                            "",
		"imagewright-trash-v1.2.3-x":     "",
		"1.2.3-alpine3.19-rc1":           "1.2-alpine3.19-rc1 1-alpine3.19-rc1 latest-alpine3.19-rc1",
		"18446744073709551615.0.0-jammy": "18446744073709551615.0-jammy 18446744073709551615-jammy latest-jammy",
	} {
		if got := strings.Join(version.Parse(tag).Floats(), " "); got != want {
			t.Errorf("Parse(%q).Floats() = %q; want %q", tag, got, want)
		}
	}
}

func TestReleaseNamesAreReleases(t *testing.T) {
	late := time.Date(2023, 11, 24, 23, 30, 0, 0, time.FixedZone("", -2*60*60)) // the 25th, in UTC
	for release, prerelease := range map[string]bool{"1.2.3": false, "0.0.1": false, "1.2.3-rc.1": true, "2024.1.15": false} {
		name := version.ReleaseName(release, late, "7a3b5c9e7a3b5c9e7a3b5c9e7a3b5c9e7a3b5c9e")
		if want := "v" + release + "-20231125-7a3b5c9"; name != want {
			t.Errorf("ReleaseName(%s) = %s; want %s", release, name, want)
		}
		tag := version.Parse(name)
		if !tag.HasBuild() || tag.IsPrerelease() != prerelease || tag.WithoutBuild() != "v"+release {
			t.Errorf("Parse(%s) = %s, without build %s; want a build suffix, prerelease %t, and v%s", name, describe(tag), tag.WithoutBuild(), prerelease, release)
		}
	}
}

func TestNamesNoRegistryAcceptsAreExplained(t *testing.T) {
	for _, ok := range []string{"a", "_", "1", "A.b-c_d", strings.Repeat("x", 128)} {
		if err := version.CheckName(ok); err != nil {
			t.Errorf("CheckName(%q) = %v; want nil", ok, err)
		}
	}
	for tag, want := range map[string]string{
		"":                       "empty",
		".a":                     `cannot begin with '.'`,
		"-a":                     `cannot begin with '-'`,
		"a b":                    `' ' is not allowed`,
		"1.2.3+4":                `'+' is not allowed`,
		"é":                      "not allowed",
		"a\x1b[31m":              `'\x1b' is not allowed`,
		"x\xff":                  "not allowed",
		strings.Repeat("x", 129): "129 characters",
	} {
		err := version.CheckName(tag)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckName(%q) = %v; want an error with %q", tag, err, want)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("CheckName(%q): the error carries raw control characters: %q", tag, err.Error())
		}
	}
}
