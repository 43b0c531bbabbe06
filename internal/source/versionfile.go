package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/imagewright/imagewright/internal/fault"
)

// VersionName is the name of the version file.
const VersionName = "VERSION"

// maxVersionFile is how large a version file may be, in bytes: it holds a line.
const maxVersionFile = 4 << 10

// maxQuoted is how much of a bad line an error shows, in bytes.
const maxQuoted = 100

// VersionError says what is wrong with a version file.
type VersionError struct {
	File   string // as asked for
	Line   int    // from 1; 0 when it is the file as a whole
	Text   string // the line as read, without its newline
	Reason string
}

func (e *VersionError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Problem()
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem())
}

// Problem is Error without the place.
func (e *VersionError) Problem() string {
	if e.Line == 0 {
		return e.Reason
	}
	text, more := e.Text, ""
	if len(text) > maxQuoted {
		text, more = text[:maxQuoted], "…"
	}
	// ASCII only: invisible and look-alike characters show.
	return strconv.QuoteToASCII(text) + more + " " + e.Reason
}

// ExitCode is that of a usage error.
func (e *VersionError) ExitCode() int { return fault.ExitUsage }

// Hint says what the file should hold.
func (e *VersionError) Hint() string {
	return "write a version as https://semver.org has it, such as 1.2.3 or 1.2.3-rc.1, on the first line"
}

// VersionFile returns the version in dir/VERSION: its first line that is not
// empty, without a leading "v". It is a strict semantic version.
//
// Errors: fs.ErrNotExist when there is no such file; [*VersionError] when it
// holds something else.
func VersionFile(dir string) (string, error) { return VersionFileNamed(dir, VersionName) }

// VersionFileNamed is VersionFile for another name, a path below dir. A symlink
// that leaves dir is refused: an error shows what the file holds.
func VersionFileNamed(dir, name string) (string, error) {
	data, err := readVersionFile(dir, name)
	if err != nil {
		return "", err
	}
	line := 0
	for text := range strings.Lines(data) {
		line++
		text = strings.TrimSuffix(text, "\n")
		value := strings.Trim(text, " \t\r") // no Unicode spaces: nobody sees those
		if value == "" {
			continue
		}
		value = strings.TrimPrefix(value, "v")
		if _, err := semver.StrictNewVersion(value); err != nil {
			return "", &VersionError{File: name, Line: line, Text: text, Reason: "is not a semantic version"}
		}
		return value, nil
	}
	return "", &VersionError{File: name, Reason: "is empty"}
}

func readVersionFile(dir, name string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("read version file %s: %w", name, err)
	}
	defer root.Close()
	// Looked at before it is opened: opening a named pipe would wait for ever.
	info, err := root.Stat(filepath.Clean(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read version file %s: %w", name, fs.ErrNotExist)
	case err != nil:
		return "", &VersionError{File: name, Reason: "cannot be read: " + cause(err)}
	case !info.Mode().IsRegular():
		return "", &VersionError{File: name, Reason: "is not a file"}
	}
	f, err := root.Open(filepath.Clean(name))
	if err != nil {
		return "", fmt.Errorf("read version file %s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxVersionFile+1))
	if err != nil {
		return "", fmt.Errorf("read version file %s: %w", name, err)
	}
	if len(data) > maxVersionFile {
		return "", &VersionError{File: name, Reason: fmt.Sprintf("has more than %d bytes; a version file holds one line", maxVersionFile)}
	}
	return string(data), nil
}

// cause is err without the operation and path that the caller says already.
func cause(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}
