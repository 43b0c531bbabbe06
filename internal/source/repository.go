package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// repository is an opened checkout.
type repository struct {
	root    string // top of the working tree
	files   billy.Filesystem
	storage *filesystem.Storage
}

// maxPointer is how long the path in a .git or commondir file may be.
const maxPointer = 4 << 10

// largeObject is from where on go-git streams objects instead of holding them.
const largeObject = 1 << 20

// open finds the checkout that dir is in.
func open(dir string) (*repository, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for root := dir; ; root = filepath.Dir(root) {
		gitDir, err := gitDirOf(root)
		if err != nil {
			return nil, fmt.Errorf("open git repository %s: %w", root, err)
		}
		if gitDir != "" {
			return openAt(root, gitDir)
		}
		if root == filepath.Dir(root) {
			return nil, fmt.Errorf("%w in %s or above", ErrNotRepository, dir)
		}
	}
}

// gitDirOf returns where the repository of the working tree root is kept: .git,
// or where a file .git points (linked worktrees, submodules); "" where root is
// no working tree. A .git without HEAD is none: git goes on upwards too.
func gitDirOf(root string) (string, error) {
	path := filepath.Join(root, ".git")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		target, err := readPointer(path)
		if err != nil {
			return "", err
		}
		target, ok := strings.CutPrefix(target, "gitdir: ")
		if !ok {
			return "", fmt.Errorf("file %s names no gitdir", path)
		}
		path = resolve(root, target)
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("its .git file points elsewhere: %w", err)
		}
		return path, nil
	}
	if _, err := os.Lstat(filepath.Join(path, "HEAD")); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return path, nil
}

func openAt(root, gitDir string) (*repository, error) {
	files := osfs.New(gitDir)
	common, err := readPointer(filepath.Join(gitDir, "commondir"))
	switch {
	case err == nil: // a linked worktree: HEAD is its own, the rest is shared
		files = dotgit.NewRepositoryFilesystem(files, osfs.New(resolve(gitDir, common)))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open git repository %s: %w", root, err)
	}
	storage := filesystem.NewStorageWithOptions(files, cache.NewObjectLRUDefault(), filesystem.Options{
		LargeObjectThreshold: largeObject,
		// Clones with --reference keep objects elsewhere, by absolute path.
		AlternatesFS: osfs.New(string(filepath.Separator)),
	})
	return &repository{root: root, files: files, storage: storage}, nil
}

// readPointer returns the first line of a small file.
func readPointer(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPointer))
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimRight(line, "\r"), err
}

func resolve(base, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

// maxConfig is how large .git/config may be.
const maxConfig = 1 << 20

// config reads .git/config. go-git's own reader refuses checkouts that git is
// happy with (a branch that follows refs/pull/7/head), so the bare sections are
// all that is taken.
func (r *repository) config() (*config.Config, error) {
	parsed := config.New()
	f, err := r.files.Open("config")
	if errors.Is(err, fs.ErrNotExist) {
		return parsed, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := config.NewDecoder(io.LimitReader(f, maxConfig)).Decode(parsed); err != nil {
		// Its text may carry a token; the decoder's error quotes none of it.
		return nil, fmt.Errorf("config: %w", err)
	}
	return parsed, nil
}

// readable returns an error for the formats of repositories that go-git cannot
// read and would misread.
func readable(c *config.Config) error {
	extensions := c.Section("extensions")
	if format := strings.ToLower(extensions.Option("objectformat")); format != "" && format != "sha1" {
		return fmt.Errorf("its objects are hashed with %s; only sha1 can be read", format)
	}
	if refs := strings.ToLower(extensions.Option("refstorage")); refs != "" && refs != "files" {
		return fmt.Errorf("its references are stored as %s; only files can be read", refs)
	}
	return nil
}

// originURL returns the address that origin is fetched from, with whatever
// credentials are in it.
func originURL(c *config.Config) string {
	section := c.Section("remote")
	if !section.HasSubsection("origin") {
		return ""
	}
	urls := section.Subsection("origin").OptionAll("url")
	if len(urls) == 0 {
		return ""
	}
	return urls[0]
}
