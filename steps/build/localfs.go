package build

import (
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// defaultWorkspace is the workspace's name where the input dir names no other.
const defaultWorkspace = ".imagewright"

// contextFS is directory dir, whose links are resolved, as the builder sees it.
func (s surroundings) contextFS(dir string) (fsutil.FS, error) {
	workspace := s.workspace
	if resolved, err := filepath.EvalSymlinks(workspace); err == nil {
		workspace = resolved
	}
	return contextFS(dir, workspace, s.facts.Revision != "" && s.inCheckout(dir))
}

// contextFS is directory dir as a build context. Two things never enter it,
// whatever .dockerignore says: the workspace (and what stands by its usual name
// at the top), which would bring the last image into this one and change every
// cache key; and the files that google-github-actions/auth leaves in the
// checkout, which are credentials. With tracked, dir holds what git checked out,
// and what is the machine's in its files' modes is left out.
func contextFS(dir, workspace string, tracked bool) (fsutil.FS, error) {
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
		if tracked {
			forgetMachine(stat)
		}
		return fsutil.MapResultKeep
	}})
}

// isLoginFile knows https://github.com/google-github-actions/auth#security-considerations
func isLoginFile(base string) bool {
	return strings.HasPrefix(base, "gha-creds-") && strings.HasSuffix(base, ".json")
}

// forgetMachine takes away what a file has from the machine that git checked it
// out on, so that the same commit gives the same image on all of them: git
// stores nothing of a mode but whether the file is a program, and the rest
// depends on the umask (002 on one runner, 022 on the next, 000 under GitLab's
// docker executor) and on the directory around it. Nothing is made readable
// that was not.
func forgetMachine(stat *types.Stat) {
	const othersWrite = 0o022
	mode := fs.FileMode(stat.Mode)
	switch {
	case mode.IsDir():
		mode &^= othersWrite | fs.ModeSetgid // a directory inherits the bit
	case mode.IsRegular():
		mode &^= othersWrite
	}
	stat.Mode = uint32(mode)
	for _, name := range []string{"security.selinux", "system.posix_acl_access", "system.posix_acl_default"} {
		delete(stat.Xattrs, name)
	}
}
