package source_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/source"
)

func TestVersionFile(t *testing.T) {
	for _, tc := range []struct{ name, content, want string }{
		{"plain", "1.2.3\n", "1.2.3"},
		{"without a newline", "1.2.3", "1.2.3"},
		{"with a v", "v1.2.3\n", "1.2.3"},
		{"prerelease", "1.2.3-rc.1\n", "1.2.3-rc.1"},
		{"build metadata", "1.2.3+build.5\n", "1.2.3+build.5"},
		{"the first line that is not empty", "\n  \n\t1.2.3  \nnot read\n", "1.2.3"},
		{"Windows line ends", "1.2.3\r\n", "1.2.3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "VERSION"), tc.content)
			got, err := source.VersionFile(dir)
			if err != nil || got != tc.want {
				t.Errorf("VersionFile of %q = %q, %v; want %q", tc.content, got, err, tc.want)
			}
		})
	}
}

func TestBadVersionFileShowsTheLine(t *testing.T) {
	for _, tc := range []struct{ name, content, want string }{
		{"two parts", "1.2\n", `VERSION:1: "1.2" is not a semantic version`},
		{"a word", "\n\nlatest\n", `VERSION:3: "latest" is not a semantic version`},
		{"leading zero", "1.02.3\n", `"1.02.3"`},
		{"a date", "20240101", `"20240101"`},
		{"two v", "vv1.2.3", `"vv1.2.3"`},
		{"capital V", "V1.2.3", `"V1.2.3"`},
		{"byte order mark", "\ufeff1.2.3\n", `"\ufeff1.2.3"`},
		{"UTF-16", "\xff\xfe1\x00.\x002\x00", `"\xff\xfe1\x00.\x002\x00"`},
		{"no-break space", "1.2.3\u00a0\n", `"1.2.3\u00a0"`},
		{"zero width space", "1.2.3\u200b\n", `"1.2.3\u200b"`},
		{"look-alike digit", "1.2.З\n", `"1.2.\u0417"`},
		{"carriage return inside", "1.2\r3\r\n", `"1.2\r3\r"`},
		{"terminal escape", "\x1b[31m1.2.3\n", `"\x1b[31m1.2.3"`},
		{"workflow command", "::add-mask::x\n", `"::add-mask::x"`},
		{"long line", strings.Repeat("9", 300), strings.Repeat("9", 100) + `"… is not`},
		{"empty", "", "VERSION: is empty"},
		{"only blank lines", "\n \n\n", "VERSION: is empty"},
		{"too large", strings.Repeat("\n", 4097), "more than 4096 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "VERSION"), tc.content)
			wantVersionError(t, dir, "VERSION", tc.want)
		})
	}
}

// A pull request may make VERSION a link to a file with secrets; the error
// would print its first line.
func TestVersionFileMayNotLeaveTheCheckout(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "tok3n\n")
	dir := t.TempDir()
	must(t, os.Symlink(secret, filepath.Join(dir, "VERSION")))
	wantVersionError(t, dir, "VERSION", "VERSION: cannot be read")
	wantVersionError(t, dir, "../secret", "cannot be read")
}

func TestVersionFileThatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "VERSION"), 0o755))
	wantVersionError(t, dir, "VERSION", "VERSION: is not a file")
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	wantVersionError(t, dir, "pipe", "pipe: is not a file")
	if _, err := source.VersionFileNamed(dir, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v; want fs.ErrNotExist", err)
	}
}

func wantVersionError(t *testing.T, dir, name, want string) {
	t.Helper()
	_, err := source.VersionFileNamed(dir, name)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("error %v; want one with %s", err, want)
	}
	if strings.Contains(err.Error(), "tok3n") || strings.ContainsAny(err.Error(), "\x1b\r\n\x00") {
		t.Errorf("error %q shows what it should not", err.Error())
	}
	if fault.Code(err) != fault.ExitUsage || fault.Hint(err) == "" {
		t.Errorf("exit code %d, hint %q; want %d and a hint", fault.Code(err), fault.Hint(err), fault.ExitUsage)
	}
}
