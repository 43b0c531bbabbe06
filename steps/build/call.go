package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/internal/step"
)

// called is what a frontend says of a Dockerfile that it doesn't build. All its
// text is harmless to print.
type called struct {
	text string // lines for people
	err  error  // what the answer means: nil, *checkWarnings or *failure
}

// call asks the frontend for one of what the input call has: check, outline or
// targets. attrs are those of a build. The error is that of asking; what the
// answer says against the Dockerfile is in called.
func call(ctx context.Context, c gateway.Client, attrs map[string]string, request string, d dockerfile, w *watcher) (called, error) {
	opts := maps.Clone(attrs)
	if opts == nil {
		opts = map[string]string{}
	}
	opts["requestid"] = map[string]string{
		"check": lint.RequestLint, "outline": outline.RequestSubrequestsOutline, "targets": targets.RequestTargets,
	}[request]
	// Else an older frontend that the Dockerfile names would start to build.
	opts[frontendCaps] = strings.TrimPrefix(opts[frontendCaps]+","+subrequestsCap, ",")
	result, err := c.Solve(ctx, gateway.SolveRequest{Frontend: dockerfileFrontend, FrontendOpt: opts})
	if slices.ContainsFunc([]string{opts["requestid"], subrequestsCap, contextsCap}, func(name string) bool { return unsupported(err, name) }) {
		return called{}, tooOldToAsk(request, attrs, d)
	}
	if err != nil {
		return called{}, err
	}
	if request == "check" {
		return readCheck(result.Metadata["result.json"], d, w)
	}
	text, ok := result.Metadata["result.txt"]
	if !ok {
		return called{}, fmt.Errorf("the frontend's answer to %s: it has no text", request)
	}
	return called{text: printable(string(text))}, nil
}

// tooOldToAsk is a frontend that does not know request.
func tooOldToAsk(request string, attrs map[string]string, d dockerfile) error {
	args := map[string]string{syntaxArg: attrs["build-arg:"+syntaxArg]}
	if own, ok := d.ownFrontend(args, ocispecs.Platform{}); ok {
		return fault.Usage(fmt.Errorf("input call: %q: frontend %s does not know it", request, familiar(own.Name)), "remove the # syntax= line of the Dockerfile, or name a newer frontend")
	}
	return fault.Usage(fmt.Errorf("input call: %q: the builder has an older BuildKit, which does not know it", request), newerBuilder)
}

// readCheck reads the answer to a check.
func readCheck(raw []byte, d dockerfile, w *watcher) (called, error) {
	var results lint.LintResults
	if err := json.Unmarshal(raw, &results); err != nil {
		return called{}, fmt.Errorf("the frontend's answer to check: %w", err)
	}
	if err := whole(&results); err != nil {
		return called{}, fmt.Errorf("the frontend's answer to check: %w", err)
	}
	rename := func(source *pb.SourceInfo) *pb.SourceInfo {
		return &pb.SourceInfo{Filename: d.Shown, Data: source.Data, Language: source.Language}
	}
	var text strings.Builder
	if err := results.PrintTo(&text, rename); err != nil { // which also sorts them
		return called{}, err
	}
	answer := called{text: printable(strings.TrimLeft(text.String(), "\n"))}
	if bad := results.Error; bad != nil {
		f := explain(errors.New(bad.Message), d, w)
		if at := int(bad.Location.SourceIndex); at >= 0 && at < len(results.Sources) {
			f.place(&errdefs.Source{Info: results.Sources[at], Ranges: bad.Location.Ranges}, d, w)
		}
		answer.err = f
		return answer, nil
	}
	if len(results.Warnings) > 0 {
		answer.err = newCheckWarnings(results.Warnings, d)
	}
	return answer, nil
}

// whole makes sure that results can be read without surprise: a frontend that a
// Dockerfile names may answer anything.
func whole(results *lint.LintResults) error {
	for _, source := range results.Sources {
		if source == nil {
			return errors.New("a source is missing")
		}
	}
	places := []*pb.Location{}
	for _, warning := range results.Warnings {
		if warning.Location == nil {
			return errors.New("a warning has no place")
		}
		places = append(places, warning.Location)
	}
	if results.Error != nil {
		places = append(places, &results.Error.Location)
	}
	for _, place := range places {
		if int(place.SourceIndex) >= max(len(results.Sources), 1) || place.SourceIndex < -1 {
			return errors.New("it speaks of a source that is not there")
		}
		for _, r := range place.Ranges {
			if r == nil || r.Start == nil || r.End == nil || r.Start.Line < 0 || r.End.Line < r.Start.Line {
				return errors.New("a place has no lines")
			}
		}
	}
	if len(results.Warnings) > 0 && len(results.Sources) == 0 {
		return errors.New("it has no source")
	}
	return nil
}

// tell prints the answer and returns what it means.
func (c called) tell(job *step.Job) error {
	if _, err := io.WriteString(job.UntrustedResult(), c.text); err != nil {
		return err
	}
	return c.err
}

// printable makes each line of text harmless.
func printable(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(ci.Printable(strings.TrimRight(line, "\r\n")) + "\n")
	}
	return b.String()
}

// checkWarnings is a Dockerfile that can be built and should be better.
type checkWarnings struct {
	File  string
	Found []finding.Finding // in the order of the file
}

func newCheckWarnings(warnings []lint.Warning, d dockerfile) *checkWarnings {
	e := &checkWarnings{File: d.Shown}
	for _, warning := range warnings {
		f := finding.Finding{
			Severity: finding.Medium,
			Rule:     ci.Printable(warning.RuleName),
			Title:    ci.Printable(warning.Description),
			Message:  ci.Printable(warning.Detail),
			Place:    finding.Place{File: d.Shown},
		}
		if warning.URL != "" {
			f.Links = []string{ci.Printable(warning.URL)}
		}
		if ranges := warning.Location.Ranges; len(ranges) > 0 {
			f.Place.Line, f.Place.EndLine = int(ranges[0].Start.Line), int(ranges[len(ranges)-1].End.Line)
		}
		e.Found = append(e.Found, f)
	}
	return e
}

// Error implements error.
func (e *checkWarnings) Error() string {
	if len(e.Found) == 1 {
		return e.File + ": the check has one warning"
	}
	return fmt.Sprintf("%s: the check has %d warnings", e.File, len(e.Found))
}

// ExitCode is that of a policy's no.
func (e *checkWarnings) ExitCode() int { return fault.ExitRefused }

// Hint says what to do.
func (e *checkWarnings) Hint() string {
	return "mend the lines, or turn rules off with # check=skip=RULE,… in the first line"
}
