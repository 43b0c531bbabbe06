package build

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/session"
	"github.com/tonistiigi/fsutil"

	"github.com/imagewright/imagewright/internal/fault"
)

// buildContext is what the input context comes to: a directory here, an address
// that the builder fetches, an archive that it unpacks, or, where standard input
// is a Dockerfile, nothing.
type buildContext struct {
	Dir        string   // absolute, links resolved
	Address    *address // of a git repository or an archive
	Own        bool     // Address is that of the commit in the checkout
	Archive    *archive // a file's, or standard input's
	Dockerfile []byte   // standard input's, in place of a context
}

const contextHint = "want a directory or a tar archive, relative to the checkout; the address of a git repository or of an archive; or - for standard input"

// readContext reads the input context. An address is not shown in errors: it
// may have a token in it.
func readContext(value string, s surroundings) (buildContext, error) {
	switch {
	case value == "-":
		return stdinContext(s.stdin)
	case strings.HasPrefix(value, defaultContext):
		remote, err := ownAddress(strings.TrimPrefix(value, defaultContext), s.facts)
		if err != nil {
			return buildContext{}, fault.Usage(fmt.Errorf("input context: %w", err), contextHint)
		}
		return buildContext{Address: remote, Own: true}, nil
	}
	path := s.abs(value)
	info, err := os.Stat(path)
	if err != nil && isAddress(value) {
		return remoteContext(value, s)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return buildContext{}, fault.Usage(fmt.Errorf("input context: there is no directory %s", path), contextHint)
	case err != nil:
		return buildContext{}, fault.Usage(fmt.Errorf("input context: %w", err), contextHint)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return buildContext{}, fault.Usage(fmt.Errorf("input context: %w", err), "")
	}
	if err := s.stayInside("context", resolved); err != nil {
		return buildContext{}, err
	}
	if info.IsDir() {
		return buildContext{Dir: resolved}, nil
	}
	packed, err := fileArchive(resolved)
	if err != nil {
		return buildContext{}, fault.Usage(fmt.Errorf("input context: %s is not a directory: %w", s.shown(path), err), contextHint)
	}
	return buildContext{Archive: packed}, nil
}

// remoteContext refuses an address in a run for a fork: it could come from the
// fork's own imagewright.yaml, and the image would not be the commit's that was
// reviewed.
func remoteContext(value string, s surroundings) (buildContext, error) {
	if s.fork {
		return buildContext{}, fault.Usage(errors.New("input context: runs for forks build the checkout, not an address"), "want a directory, or "+defaultContext)
	}
	remote, err := parseAddress(value)
	if err != nil {
		return buildContext{}, fault.Usage(fmt.Errorf("input context: %w", err), contextHint)
	}
	return buildContext{Address: remote}, nil
}

// remote tells whether the builder alone sees what is in the context.
func (c buildContext) remote() bool { return c.Address != nil || c.Archive != nil }

// shown is c for people and records: nothing in it is secret.
func (c buildContext) shown(s surroundings) string {
	switch {
	case c.Dir != "":
		return s.shown(c.Dir)
	case c.Address != nil:
		return c.Address.shown()
	}
	return "standard input or an archive"
}

// facts are what is known of the commit that is built, where own are those of
// the checkout: another repository's address says where it is from, and when it
// names a commit, which.
func (c buildContext) facts(own facts) facts {
	if c.Address == nil || c.Own {
		return own
	}
	theirs := c.Address.facts()
	if theirs.Revision == own.Revision && theirs.Repository == own.Repository {
		return own
	}
	return theirs
}

// attrs are the frontend's attributes that say where the context and d are.
func (c buildContext) attrs(d dockerfile) map[string]string {
	attrs := map[string]string{"filename": d.filename()}
	if c.Address != nil {
		attrs["context"] = c.Address.URL
	}
	if c.remote() && !d.Remote {
		attrs["dockerfilekey"] = "dockerfile" // else it is looked for in the context
	}
	return attrs
}

// mounts are the files that the builder may ask this process for.
func (c buildContext) mounts(d dockerfile, s surroundings) (map[string]fsutil.FS, error) {
	mounts := map[string]fsutil.FS{}
	var err error
	switch {
	case c.Dir != "":
		mounts["context"], err = s.contextFS(c.Dir)
	case !c.remote():
		mounts["context"] = memoryFS{}
	}
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("read the build context: %w", err), "")
	}
	switch {
	case d.inline:
		mounts["dockerfile"] = memoryFS{d.filename(): d.data}
	case !d.Remote:
		mounts["dockerfile"], err = s.contextFS(filepath.Dir(d.Path))
	}
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("read the Dockerfile's directory: %w", err), "")
	}
	return mounts, nil
}

// attach hands an archive to one session with a builder: it sets the address
// to fetch it from in attrs. Without an archive it returns nil.
func (c buildContext) attach(attrs map[string]string) (session.Attachable, error) {
	if c.Archive == nil {
		return nil, nil
	}
	from, uploads, err := c.Archive.upload()
	if err != nil {
		return nil, err
	}
	attrs["context"] = from
	return uploads, nil
}

// gitSecrets are the credentials in addresses, and token for those among them
// that are repositories on the host of own, by the ids that BuildKit asks for.
// What given has already is left as it is.
func gitSecrets(addresses []*address, token string, own facts, given map[string][]byte) map[string][]byte {
	all := map[string][]byte{}
	host := "github.com"
	if u, err := url.Parse(own.Repository); err == nil {
		host = cmp.Or(u.Host, host)
	}
	for _, a := range addresses {
		maps.Copy(all, a.Secrets)
		if token != "" && a.Git && !a.SSH && a.encrypted() && strings.EqualFold(a.Host, host) {
			all["GIT_AUTH_TOKEN."+a.Host] = []byte(token)
		}
	}
	maps.DeleteFunc(all, func(id string, _ []byte) bool {
		_, exists := given[id]
		return exists
	})
	return all
}

// hidden are all texts of p that must show nowhere: its secrets, by id, and what
// else was in addresses.
func (p *plan) hidden() map[string][]byte {
	all := maps.Clone(p.secrets)
	for i, a := range p.addresses {
		for j, text := range a.Masked {
			all[fmt.Sprint("address ", i, " ", j)] = []byte(text)
		}
	}
	for i, text := range cacheSecrets(slices.Concat(p.cacheFrom, p.cacheTo)...) {
		all[fmt.Sprint("cache ", i)] = []byte(text)
	}
	return all
}
