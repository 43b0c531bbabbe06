package tag

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/source"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/internal/version"
)

// commit is what the image was built from.
type commit struct {
	Revision string
	Date     time.Time
}

// fullHash is a commit as git writes it, sha1 or sha256.
var fullHash = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// commitOf returns the commit that names the image: the one that build
// recorded, else the checkout's. Two that differ are an error: the version
// would be the checkout's, and the image another commit's.
func commitOf(built record.Source, checkout source.Facts, job *step.Job) (commit, error) {
	at := commit{built.Revision, built.Date}
	if at.Revision == "" || at.Date.IsZero() {
		at = commit{checkout.Revision, checkout.Date}
	}
	switch {
	case at.Revision == "":
		return at, fault.Usage(fmt.Errorf("%s has no commit, whose date and hash are in the image's name", job.Dir),
			"run in a git checkout with a commit, or after imagewright-build made the image from one")
	case !fullHash.MatchString(at.Revision):
		return at, fault.Failed(fmt.Errorf("record of build: %q is no commit", at.Revision), "run imagewright-build again")
	}
	known := checkout.Revision == "" || at.Revision == checkout.Revision || at.Revision == job.CI.Revision
	if known {
		return at, nil
	}
	mismatch := fmt.Errorf("the image was built from commit %s, and the checkout is at %s", at.Revision, checkout.Revision)
	if job.CI.PullRequest != "" { // each job may have merged it anew
		job.Log.Warn(mismatch.Error())
		return at, nil
	}
	return at, fault.Usage(mismatch, "run imagewright-build again")
}

// release is a version and where it was found.
type release struct {
	Text       string // semantic version, no "v", no build metadata
	Prerelease bool
	From       string // file VERSION; git tag v1.2.3
	version    *semver.Version
}

// release finds the version: in the version file, else in the git tag.
func (s *Step) release(checkout source.Facts, job *step.Job) (release, error) {
	file, err := s.versionFile(job)
	if err != nil {
		return release{}, err
	}
	tag, found := gitTag(checkout, job)
	switch {
	case file.Text == "" && !found:
		return release{}, noVersion(checkout, job)
	case file.Text == "":
		return tag, nil
	case found && tag.Text != file.Text && job.CI.Tag != "":
		return release{}, fault.Usage(fmt.Errorf("%s says %s, and this run is for %s", file.From, file.Text, tag.From), "make both say the same version")
	case found && tag.Text != file.Text:
		job.Log.Warn(fmt.Sprintf("%s says %s, and the commit has %s; the file counts", file.From, file.Text, tag.From))
	}
	return file, nil
}

// versionFile reads the version file. That there is none is an error only if
// the input names it.
func (s *Step) versionFile(job *step.Job) (release, error) {
	path := job.Abs(source.VersionName)
	if s.in.VersionFile != "" {
		path = job.Abs(s.in.VersionFile)
	}
	shown := job.Rel(path)
	dir, name := job.Dir, shown
	if !filepath.IsLocal(name) { // outside the checkout, as the user wants it
		dir, name = filepath.Split(path)
	}
	text, err := source.VersionFileNamed(dir, name)
	if bad, ok := errors.AsType[*source.VersionError](err); ok {
		bad.File = shown
		if job.CI.Kind == ci.GitHub { // elsewhere the log would say it twice
			job.Annotate(ci.Annotation{Level: ci.Error, File: bad.File, Line: bad.Line, Title: "Bad version", Message: bad.Problem()})
		}
		return release{}, bad
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.in.VersionFile == "":
		return release{}, nil
	case errors.Is(err, fs.ErrNotExist):
		return release{}, fault.Usage(fmt.Errorf("input version-file: there is no file %q", s.in.VersionFile), "the path is relative to the checkout")
	case err != nil:
		return release{}, err
	}
	r, ok := parseRelease(text)
	if !ok { // it was a version with a build suffix in an odd place
		return release{}, fault.Usage(fmt.Errorf("file %s: %q is not a semantic version", shown, text), "")
	}
	r.From = "file " + shown
	return r, nil
}

// gitTag returns the version that git tags say: the tag this run is for, else
// the highest at the commit.
func gitTag(checkout source.Facts, job *step.Job) (best release, found bool) {
	tags := checkout.Tags
	if _, ok := parseRelease(job.CI.Tag); ok {
		tags = []string{job.CI.Tag}
	}
	for _, tag := range tags {
		if r, ok := parseRelease(tag); ok && (!found || r.version.GreaterThan(best.version)) {
			best, found = r, true
			best.From = "git tag " + tag
		}
	}
	return best, found
}

// parseRelease reads a strict semantic version with an optional "v". Build
// metadata (+5) goes, since no tag can carry it, and so does a build suffix
// (-20231125-7a3b5c9), which the name gets anew.
func parseRelease(text string) (release, bool) {
	v, err := semver.StrictNewVersion(strings.TrimPrefix(text, "v"))
	if err != nil {
		return release{}, false
	}
	bare := semver.New(v.Major(), v.Minor(), v.Patch(), v.Prerelease(), "")
	if t := version.Parse(bare.String()); t.HasBuild() {
		if bare, err = semver.StrictNewVersion(t.WithoutBuild()); err != nil {
			return release{}, false
		}
	}
	return release{Text: bare.String(), Prerelease: bare.Prerelease() != "", version: bare}, true
}

// noVersion names both ways out.
func noVersion(checkout source.Facts, job *step.Job) error {
	what := "no git tag that is a semantic version"
	if job.CI.Tag != "" {
		what = fmt.Sprintf("the git tag %q is no semantic version", job.CI.Tag)
	}
	hint := "write the version, such as 1.2.3, to a file VERSION, or tag the commit v1.2.3"
	if checkout.Shallow {
		hint += " (this clone is shallow and may lack tags: fetch them too)"
	}
	return fault.Usage(fmt.Errorf("the image has no version: there is no file %s in %s, and %s", source.VersionName, job.Dir, what), hint)
}
