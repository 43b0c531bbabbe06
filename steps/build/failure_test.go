package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/imagewright/imagewright/internal/report"
)

// runError is what BuildKit's client returned for a RUN that exits with code.
func runError(code uint32) error {
	err := error(&gatewaypb.ExitError{ExitCode: code, Err: errors.New(`process "/bin/sh -c make" did not complete successfully: exit code`)})
	err = errdefs.WrapVertex(err, someStep)
	return errdefs.WithSource(err, &errdefs.Source{
		Info:   &pb.SourceInfo{Filename: "Dockerfile", Data: []byte("FROM scratch\nCOPY . .\nRUN make \\\n  \x1b[31mall\nCMD x\n")},
		Ranges: []*pb.Range{{Start: &pb.Position{Line: 3}, End: &pb.Position{Line: 4}}},
	})
}

func TestFailedRunShowsLineCommandAndOutput(t *testing.T) {
	w := newWatcher(nil)
	w.observe(&client.SolveStatus{
		Vertexes: []*client.Vertex{{Digest: someStep, Name: "[stage-0 2/2] RUN make   all"}},
		Logs:     []*client.VertexLog{{Vertex: someStep, Data: []byte("compiling\nno rule\n")}},
	})
	f := explain(runError(2), dockerfile{Shown: "app/Dockerfile"}, w)
	if got, want := f.Error(), "app/Dockerfile:3: RUN make   all: exit code 2"; got != want {
		t.Errorf("error is %q, want %q", got, want)
	}
	var out bytes.Buffer
	if err := f.writeTo(&out); err != nil {
		t.Fatal(err)
	}
	want := `
app/Dockerfile:3
--------------------
   2 |     COPY . .
   3 | >>> RUN make \
   4 | >>>   all
   5 |     CMD x
--------------------
command:  RUN make   all
output:
  compiling
  no rule
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if f.ExitCode() != 1 {
		t.Errorf("exit code is %d, want 1", f.ExitCode())
	}
}

func TestErrorsAreRidOfTheirWrapping(t *testing.T) {
	for text, want := range map[string]string{
		`failed to solve: failed to parse stage name "UPPER": invalid reference format`:   `parse stage name "UPPER": invalid reference format`,
		"failed to solve: rpc error: code = Unknown desc = invalid includepatterns: [[x]": "invalid includepatterns: [[x]",
	} {
		if got := explain(errors.New(text), dockerfile{}, newWatcher(nil)).Error(); got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
	}
}

func TestALineThatAnOlderBuildKitCannotReadIsExplained(t *testing.T) {
	var d dockerfile
	d.Shown = "app/Dockerfile"
	if err := d.read([]byte("FROM scratch\nRUN --network=none make\n"), ""); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 2: Unknown flag: network",
		"failed to solve: dockerfile parse error on line 2: Unknown flag: network",
	} {
		f := explain(errors.New(text), d, newWatcher(nil))
		if f.Error() != "app/Dockerfile:2: Unknown flag: network" || !strings.Contains(f.Hint(), "# syntax=docker/dockerfile:1") {
			t.Errorf("%q becomes %q, hint %q; want the line and what helps", text, f, f.Hint())
		}
	}
}

func TestExitCodesThatSayMore(t *testing.T) {
	for code, want := range map[uint32]string{1: "", 126: "could not run", 127: "not in the image", 137: "memory"} {
		f := explain(runError(code), dockerfile{Shown: "Dockerfile"}, newWatcher(nil))
		if (want == "") != (f.Hint() == "") || !strings.Contains(f.Hint(), want) {
			t.Errorf("hint for exit code %d is %q, want %q in it", code, f.Hint(), want)
		}
	}
}

// The texts are what BuildKit v0.34.2 answered.
func TestReasonsAreSaidInOneSentence(t *testing.T) {
	resolve := func(rest string) string {
		return "failed to solve: 127.0.0.1:5000/base:1: failed to resolve source metadata for 127.0.0.1:5000/base:1: " + rest
	}
	const base = "image 127.0.0.1:5000/base:1"
	for _, tc := range []struct {
		name          string
		err           error
		message, hint string
	}{
		{"no such image", status.Error(codes.NotFound, resolve("127.0.0.1:5000/base:1: not found")), base + " does not exist in its registry", "name and tag"},
		{"a right that is not granted", errors.New("failed to solve: failed to load LLB: network.host is not allowed"), "the Dockerfile or an input asks for network.host, which is not granted", "set allow to network.host"},
		{"wrong architecture", status.Error(codes.NotFound, resolve("no match for platform in manifest: not found")), base + " is not made for the platform that is wanted", "platforms"},
		{"no credentials", errors.New(resolve("unexpected status from HEAD request to http://127.0.0.1:5000/v2/base/manifests/1: 401 Unauthorized")), base + ": the registry did not let us in: 401 Unauthorized", "username and password"},
		{"not allowed", errors.New(resolve("pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials")), base + ": the registry did not let us in: no basic auth credentials", "username and password"},
		{"registry down", errors.New(resolve(`failed to do request: Head "http://127.0.0.1:5000/v2/base/manifests/1": dial tcp 127.0.0.1:5000: connect: connection refused`)), base + ": the registry refuses connections: dial tcp 127.0.0.1:5000: connect: connection refused", "that it runs"},
		{"name that does not resolve", errors.New(resolve(`failed to do request: Head "https://x.invalid/v2/base/manifests/1": dial tcp: lookup x.invalid: no such host`)), base + ": the registry's name does not resolve: dial tcp: lookup x.invalid: no such host", "proxy"},
		{"plain HTTP", errors.New(resolve(`failed to do request: Head "https://r/v2/base/manifests/1": http: server gave HTTP response to HTTPS client`)), base + ": the registry speaks plain HTTP: server gave HTTP response to HTTPS client", "insecure-registries"},
		{"unknown authority", errors.New(resolve(`failed to do request: Head "https://r/v2/base/manifests/1": tls: failed to verify certificate: x509: certificate signed by unknown authority`)), base + ": the registry's certificate is not trusted: certificate signed by unknown authority", "ca-bundle"},
		{"file that is not there", errors.New(`failed to solve: failed to compute cache key: failed to calculate checksum of ref tzj::x: "/nope": not found`), "nope is not in the build context", ".dockerignore"},
		{"state on a full disk", errors.New("failed to solve: write /var/lib/imagewright/x: no space left on device"), "write /var/lib/imagewright/x: no space left on device", "state-max-size"},
		{"anything else", errors.New("failed to solve: base name (${X}) should not be blank"), "base name (${X}) should not be blank", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			message, hint := reason(tc.err)
			if message != tc.message {
				t.Errorf("message is\n%q, want\n%q", message, tc.message)
			}
			if (tc.hint == "") != (hint == "") || !strings.Contains(hint, tc.hint) {
				t.Errorf("hint is %q, want %q in it", hint, tc.hint)
			}
		})
	}
}

func TestFailureBecomesACodeQualityReport(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want int // issues
	}{
		{"failed step", errors.Join(explain(runError(2), dockerfile{Shown: "app/Dockerfile"}, newWatcher(nil))), 1},
		{"syntax error", &badDockerfile{File: "app/Dockerfile", Line: 3, Message: "unknown instruction: CPOY"}, 1},
		{"error without a place", errors.New("no disk"), 0},
		{"no error", nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := report.WriteCodeQuality(&out, findings(tc.err)); err != nil {
				t.Fatal(err)
			}
			checkCodeQuality(t, out.Bytes(), tc.want)
		})
	}
}

// checkCodeQuality holds a report against what GitLab demands of one.
// https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
func checkCodeQuality(t *testing.T, text []byte, issues int) {
	t.Helper()
	var got []struct {
		Description *string `json:"description"`
		CheckName   *string `json:"check_name"`
		Fingerprint *string `json:"fingerprint"`
		Severity    string  `json:"severity"`
		Location    struct {
			Path  string `json:"path"`
			Lines struct {
				Begin int `json:"begin"`
			} `json:"lines"`
		} `json:"location"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("report is no JSON array: %v\n%s", err, text)
	}
	if len(got) != issues {
		t.Fatalf("report has %d issues, want %d:\n%s", len(got), issues, text)
	}
	for _, issue := range got {
		for name, field := range map[string]*string{"description": issue.Description, "check_name": issue.CheckName, "fingerprint": issue.Fingerprint} {
			if field == nil || *field == "" {
				t.Errorf("issue has no %s:\n%s", name, text)
			}
		}
		if !regexp.MustCompile(`^(info|minor|major|critical|blocker)$`).MatchString(issue.Severity) {
			t.Errorf("severity %q is not one of GitLab's", issue.Severity)
		}
		if issue.Location.Path != "app/Dockerfile" || issue.Location.Lines.Begin != 3 {
			t.Errorf("place is %s:%d, want app/Dockerfile:3", issue.Location.Path, issue.Location.Lines.Begin)
		}
	}
}
