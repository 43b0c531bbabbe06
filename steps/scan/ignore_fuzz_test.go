package scan

import (
	"testing"
	"time"
)

// FuzzIgnores looks for a file that is taken, and accepts what it does not name.
func FuzzIgnores(f *testing.F) {
	for _, text := range []string{
		"CVE-2023-45853 # why\nCVE-2024-0001 exp:2026-12-31\n\n# nothing\n", "a exp:", "exp:2026-12-31",
		"vulnerabilities:\n- id: CVE-2024-0001\n  purls: [pkg:deb/debian/zlib1g]\n  expired_at: 2026-12-31\n  statement: no\nsecrets:\n- {id: a, paths: [\"/app/**\"]}\n",
		"vulnerabilities: [{}]", "a: &a [*a]", "{", "vulnerabilities:\n- id: &a x\n- *a\n",
	} {
		f.Add(text, true)
		f.Add(text, false)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string, asYAML bool) {
		name := ".trivyignore"
		if asYAML {
			name += ".yaml"
		}
		file, err := parseIgnores(name, []byte(text), now)
		if err != nil {
			return
		}
		for _, list := range [][]*ignore{file.vulnerabilities, file.secrets} {
			for _, entry := range list {
				if entry.ID == "" {
					t.Error("an entry without an ID holds")
				}
				if !entry.Expires.IsZero() && entry.Expires.Before(now) {
					t.Errorf("the entry %q holds, which expired on %s", entry.ID, entry.Expires)
				}
			}
		}
	})
}
