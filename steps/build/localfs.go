package build

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// defaultWorkspace is the workspace's name where the input dir names no other.
const defaultWorkspace = ".imagewright"

// contextFS is directory dir as a build context. Two things never enter it,
// whatever .dockerignore says: the workspace (and what stands by its usual name
// at the top), which would bring the last image into this one and change every
// cache key; and the files that google-github-actions/auth leaves in the
// checkout, which are credentials.
func contextFS(dir, workspace string) (fsutil.FS, error) {
	files, err := fsutil.NewFS(dir)
	if err != nil {
		return nil, err
	}
	inside, _ := filepath.Rel(dir, workspace) // "" or "../…" when it is not inside
	return fsutil.NewFilterFS(files, &fsutil.FilterOpt{Map: func(name string, stat *types.Stat) fsutil.MapResult {
		name = filepath.ToSlash(name)
		switch {
		case name == defaultWorkspace || name == filepath.ToSlash(inside):
			if stat.IsDir() {
				return fsutil.MapResultSkipDir
			}
			return fsutil.MapResultExclude
		case isLoginFile(path.Base(name)) && !stat.IsDir():
			return fsutil.MapResultExclude
		}
		return fsutil.MapResultKeep
	}})
}

// isLoginFile knows https://github.com/google-github-actions/auth#security-considerations
func isLoginFile(base string) bool {
	return strings.HasPrefix(base, "gha-creds-") && strings.HasSuffix(base, ".json")
}
