package build

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/imagewright/imagewright/internal/fault"
)

const someStep = digest.Digest("sha256:aaaa")

func logs(w *watcher, pieces ...string) string {
	var out strings.Builder
	add := func(s *client.SolveStatus) {
		for _, l := range s.Logs {
			out.Write(l.Data)
		}
	}
	for _, p := range pieces {
		add(w.observe(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: someStep, Data: []byte(p)}}}))
	}
	add(w.flush())
	return out.String()
}

func TestOutputOfStepsIsHarmless(t *testing.T) {
	secrets := map[string][]byte{"a": []byte("s3cr3t"), "b": []byte("first line\nsecond line\n"), "c": []byte("s3cr3t-and-more"), "d": []byte("s3cr3t-and")}
	for _, tc := range []struct {
		name   string
		pieces []string
		want   string
	}{
		{"plain lines", []string{"one\ntwo\n"}, "one\ntwo\n"},
		{"line in pieces", []string{"o", "ne\nt", "wo"}, "one\ntwo\n"},
		{"secret", []string{"is s3cr3t!\n"}, "is ***!\n"},
		{"secret in pieces", []string{"is s3c", "r3t!\n"}, "is ***!\n"},
		{"secret that begins with another", []string{"is s3cr3t-and-more!\n"}, "is ***!\n"},
		{"secret of several lines", []string{"x first line\nsecond line y\n"}, "x ***\n*** y\n"},
		{"secret with a colour inside", []string{"s3c\x1b[1mr3t\n"}, "***\n"},
		{"colours", []string{"\x1b[1;31mred\x1b[0m\n"}, "red\n"},
		{"title of the terminal", []string{"\x1b]0;mine\x07x\n"}, "x\n"},
		{"progress bar", []string{"10%\r50%\r100%\r\n"}, "100%\n"},
		{"other control characters", []string{"a\x08\x00b\n"}, `a\u0008\u0000b` + "\n"},
		{"direction override", []string{"a\u202eb\n"}, `a\u202eb` + "\n"},
		{"workflow command anywhere in a line", []string{"a ##[error]b\n"}, "a ## [error]b\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, logs(newWatcher(secrets), tc.pieces...)); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLineWithoutEndIsBounded(t *testing.T) {
	w := newWatcher(nil)
	logs := w.observe(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: someStep, Data: bytes.Repeat([]byte("x"), maxHeldBytes+1)}}})
	if len(logs.Logs) == 0 {
		t.Errorf("%d bytes without a line break are held back", maxHeldBytes+1)
	}
}

func TestSecretWhereALongLineIsCutStaysHidden(t *testing.T) {
	const secret = "s3cr3t-and-more"
	for at := maxHeldBytes - 2*len(secret); at < maxHeldBytes+2*len(secret); at++ {
		before := strings.Repeat("x", at)
		for cut := range len(secret) {
			shown := logs(newWatcher(map[string][]byte{"a": []byte(secret)}), before+secret[:cut], secret[cut:]+"y", "z\n")
			if text := strings.ReplaceAll(shown, "\n", ""); text != before+"***yz" {
				t.Fatalf("secret at byte %d, in pieces of %d and %d: shown as %q", at, cut, len(secret)-cut, text[len(before)-5:])
			}
		}
	}
}

func TestTailKeepsTheLastLines(t *testing.T) {
	w := newWatcher(nil)
	logs(w, strings.Repeat("old\n", 5)+strings.Repeat("new\n", tailLines-1), "last")
	tail := w.tail(someStep)
	if len(tail) != tailLines || tail[0] != "new" || tail[tailLines-1] != "last" {
		t.Errorf("tail is %q, want %d lines from new to last", tail, tailLines)
	}
}

func TestStepsAreCountedOnceAndInternalOnesNot(t *testing.T) {
	w := newWatcher(nil)
	now := time.Now()
	for _, v := range []*client.Vertex{
		{Digest: "sha256:1", Name: "[internal] load build context"},
		{Digest: "sha256:2", Name: "[1/2] COPY a b"},
		{Digest: "sha256:2", Name: "[1/2] COPY a b", Cached: true, Completed: &now},
		{Digest: "sha256:3", Name: "[linux/arm64 stage 2/2] RUN x"},
		{Digest: "sha256:5", Name: "[context base] OCI load from client"},
		{Digest: "sha256:4", Name: "exporting to oci image format"},
	} {
		w.observe(&client.SolveStatus{Vertexes: []*client.Vertex{v}})
	}
	if all, cached := w.steps(); all != 2 || cached != 1 {
		t.Errorf("%d steps, %d cached; want 2 and 1", all, cached)
	}
}

func TestNamesAndErrorsOfStepsAreHarmless(t *testing.T) {
	w := newWatcher(map[string][]byte{"a": []byte("s3cr3t")})
	clean := w.observe(&client.SolveStatus{
		Vertexes: []*client.Vertex{{Digest: someStep, Name: "RUN echo s3cr3t\n::error::x", Error: "s3cr3t \x1b[31mfailed"}},
		Statuses: []*client.VertexStatus{{ID: "s3cr3t", Vertex: someStep}},
		Warnings: []*client.VertexWarning{{Short: []byte("s3cr3t\n::x")}},
	})
	v := clean.Vertexes[0]
	if v.Name != "RUN echo *** ::error::x" || v.Error != "*** failed" {
		t.Errorf("step is shown as %q, error %q", v.Name, v.Error)
	}
	if clean.Statuses[0].ID != "***" || string(clean.Warnings[0].Short) != "*** ::x" {
		t.Errorf("status is shown as %q, warning as %q", clean.Statuses[0].ID, clean.Warnings[0].Short)
	}
}

func TestPlainDisplayIsShownWithoutItsClosingList(t *testing.T) {
	var out bytes.Buffer
	lines := &stepLines{to: &out}
	for _, piece := range []string{"#1 [1/1] RUN", " x\n\n#1 0.1 a\n", "------\n > RUN x:\n0.1 a\n------\n"} {
		if _, err := lines.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff("#1 [1/1] RUN x\n\n#1 0.1 a\n", out.String()); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
}

func TestTerminalDisplayNeedsATerminal(t *testing.T) {
	_, err := newDisplay("tty", &bytes.Buffer{}, nil)
	if fault.Code(err) != fault.ExitUsage {
		t.Errorf("error %v, want a usage error", err)
	}
	if errors.Unwrap(err) == nil {
		t.Error("the reason is lost")
	}
}

func TestNamesOfGroupedStepsAreHarmless(t *testing.T) {
	w := newWatcher(map[string][]byte{"a": []byte("s3cr3t")})
	group := &pb.ProgressGroup{Id: "g", Name: "COPY s3cr3t \x1b[2J\n::error::x"}
	shown := w.observe(&client.SolveStatus{Vertexes: []*client.Vertex{{Digest: someStep, ProgressGroup: group}}})
	if got := shown.Vertexes[0].ProgressGroup; got.Id != "g" || got.Name != "COPY ***  ::error::x" {
		t.Errorf("the group is shown as %q", got.Name)
	}
}

// The two streams of a step come in any order.
func TestTheErrorThatAStepPrintedIsNotPushedOut(t *testing.T) {
	w := newWatcher(nil)
	d := digest.FromString("step")
	w.observe(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: d, Stream: 2, Data: []byte("cc: not found\n")}}})
	w.observe(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: d, Stream: 1, Data: []byte(strings.Repeat("compiling\n", 3*tailLines))}}})
	if tail := w.tail(d); len(tail) != tailLines || tail[0] != "cc: not found" {
		t.Errorf("the tail is %d lines from %q on, want %d with the error first", len(tail), tail[0], tailLines)
	}
}
