package build

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/source"
)

// facts are what is known of the commit that is built. A field is empty where
// nothing tells.
type facts struct {
	Repository string
	Revision   string
	Ref        string    // refs/heads/…, refs/tags/…
	Version    string    // its tag
	Date       time.Time // of the commit
}

// readFacts asks the checkout in dir, and the CI, which knows the branch of a
// detached HEAD and has the last word on names. The commit is the checkout's:
// that is what is built, and what has the date, whatever started the run. warn
// is told why a checkout could not be read; one without git is no problem.
func readFacts(ctx context.Context, dir string, run ci.Context, warn func(error)) facts {
	read, err := source.Read(ctx, dir)
	if err != nil && !errors.Is(err, source.ErrNotRepository) {
		warn(err)
	}
	f := facts{Repository: read.Repository, Revision: read.Revision, Date: read.Date}
	branch, tag := read.Branch, ""
	if len(read.Tags) == 1 { // of several none is the version
		tag = read.Tags[0]
	}
	if run.Repository != "" {
		f.Repository = run.Repository
	}
	if f.Revision == "" {
		f.Revision = run.Revision
	}
	if run.Branch != "" || run.Tag != "" {
		branch, tag = run.Branch, run.Tag
	}
	f.Version = tag
	switch {
	case tag != "" && branch == "":
		f.Ref = "refs/tags/" + tag
	case branch != "":
		f.Ref = "refs/heads/" + branch
	}
	return f
}

const epochArg = "SOURCE_DATE_EPOCH"

// noDate is the date of sources that no commit dates: the one that files in
// layers have, too.
var noDate = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// imageDate is the date that goes into the image: the input source-date-epoch,
// then SOURCE_DATE_EPOCH as a build argument, then as a variable, then the
// commit's, then noDate.
//
// Meaning: https://reproducible-builds.org/specs/source-date-epoch/
func (f facts) imageDate(input string, args map[string]string, getenv func(string) string) (time.Time, error) {
	value, where := input, "input source-date-epoch"
	if value == "" {
		value, where = args[epochArg], "input build-args: "+epochArg
	}
	if value == "" {
		value, where = getenv(epochArg), "environment: "+epochArg
	}
	if value == "" && f.Date.IsZero() {
		return noDate, nil
	}
	if value == "" {
		return f.Date.UTC().Truncate(time.Second), nil
	}
	const year10000 = 253402300800 // has no RFC 3339 form
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds < 0 || seconds >= year10000 {
		return time.Time{}, fault.Usage(fmt.Errorf("%s: %q is not accepted; want seconds since 1970", where, value), "")
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// labels are the image's own labels, by the names of the OCI image
// specification. What is not known has none.
func (f facts) labels(date time.Time) map[string]string {
	all := map[string]string{ocispecs.AnnotationCreated: date.Format(time.RFC3339)}
	for name, value := range map[string]string{
		ocispecs.AnnotationSource:   f.Repository,
		ocispecs.AnnotationRevision: f.Revision,
		ocispecs.AnnotationVersion:  f.Version,
	} {
		if value != "" {
			all[name] = value
		}
	}
	return all
}
