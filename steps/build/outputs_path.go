package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// destination is where an output named dest goes, absolute. What is outside the
// checkout is the user's own word. In the checkout, a link that it brought along
// must not lead what is written, by root perhaps, to another place; and nothing
// goes where the steps keep what they tell each other.
func (s surroundings) destination(dest string, isDir bool) (string, error) {
	path := s.abs(dest)
	info, err := os.Stat(path)
	switch {
	case err == nil && isDir && !info.IsDir():
		return "", fmt.Errorf("%s is a file; a directory is wanted", s.shown(path))
	case err == nil && !isDir && info.IsDir():
		return "", fmt.Errorf("%s is a directory; a file is wanted", s.shown(path))
	}
	written := path
	if !isDir {
		written = filepath.Dir(path) // a link with the file's own name is replaced, not followed
	}
	written, err = realPath(written)
	if err != nil {
		return "", err
	}
	checkout, err := realPath(s.dir)
	if err != nil {
		return "", err
	}
	if within(s.dir, path) && !within(checkout, written) {
		return "", fmt.Errorf("%s leads out of the checkout through a symbolic link", s.shown(path))
	}
	return path, s.keepOut(written, isDir, path)
}

// keepOut refuses to write into the workspace's own folders, and to unpack the
// image's files around them: the links and records among them would be taken for
// ours.
func (s surroundings) keepOut(written string, isDir bool, path string) error {
	workspace, err := realPath(s.workspace)
	if err != nil {
		return err
	}
	if isDir && within(written, workspace) {
		return fmt.Errorf("%s holds the workspace %s; want a directory of its own", s.shown(path), s.shown(s.workspace))
	}
	for _, folder := range []string{"image", "record", "reports"} {
		if within(filepath.Join(workspace, folder), written) {
			return fmt.Errorf("%s belongs to the workspace", s.shown(path))
		}
	}
	return nil
}

// realPath follows the links in path as far as there is something.
func realPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is a symbolic link to nothing", path)
	}
	parent, err := realPath(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}
