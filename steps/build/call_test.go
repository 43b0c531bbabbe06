package build

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/tonistiigi/fsutil"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/fault"
)

// engine is a BuildKit for one test.
func engine(t *testing.T) *client.Client {
	t.Helper()
	e, err := buildkit.Start(t.Context(), buildkit.Options{
		StateDir: t.TempDir(), Environ: os.Environ(), Log: slog.New(slog.DiscardHandler), Stderr: io.Discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e.Client()
}

// sources are the context and the Dockerfile in dir.
func sources(t *testing.T, dir string) map[string]fsutil.FS {
	t.Helper()
	files, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]fsutil.FS{"context": files, "dockerfile": files}
}

// asked is what BuildKit answers of a Dockerfile with this text.
func asked(t *testing.T, c *client.Client, request, text string) (answer called, err error) {
	t.Helper()
	dir := checkout(t, map[string]string{"app.Dockerfile": text})
	attrs := map[string]string{"filename": "app.Dockerfile", "build-arg:VERSION": "2"}
	d := dockerfile{Shown: "deploy/app.Dockerfile"}
	_, err = c.Build(t.Context(), client.SolveOpt{LocalMounts: sources(t, dir), FrontendAttrs: attrs}, "",
		func(ctx context.Context, g gateway.Client) (*gateway.Result, error) {
			var err error
			answer, err = call(ctx, g, attrs, request, d, newWatcher(nil))
			return gateway.NewResult(), err
		}, nil)
	return answer, err
}

func TestAskingAboutADockerfile(t *testing.T) {
	c := engine(t)
	const good = `# A server.
FROM scratch AS server
ARG VERSION=1
COPY app.Dockerfile /

# For development.
FROM server AS debug
RUN --mount=type=secret,id=token,required=true x
`
	for _, tc := range []struct {
		name, request, text string
		want                []string
		code                int
	}{
		{"targets", "targets", good, []string{"TARGET", "server", "debug (default)"}, 0},
		{"outline", "outline", good, []string{"BUILD ARG", "VERSION", "SECRET", "token", "true"}, 0},
		{"a good one", "check", good, nil, 0},
		{"warnings", "check", "FROM scratch as one\nMAINTAINER me\n", []string{
			"WARNING: FromAsCasing", "WARNING: MaintainerDeprecated", "deploy/app.Dockerfile:2",
		}, fault.ExitRefused},
		{"one that cannot be built", "check", "FROM scratch\nCOPY --from=later / /\nFROM scratch AS later\nCOPY --from=7 / /\n", nil, fault.ExitFailed},
		{"it tries to command the runner", "check", "FROM scratch as one\n# ::set-env name=X::\n#\x1b[2J\n", []string{"WARNING: FromAsCasing"}, fault.ExitRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answer, err := asked(t, c, tc.request, tc.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(answer.text, want) {
					t.Errorf("the answer has no %q:\n%s", want, answer.text)
				}
			}
			if got := fault.Code(answer.err); got != tc.code {
				t.Errorf("it means exit code %d (%v), want %d", got, answer.err, tc.code)
			}
			if strings.Contains(answer.text, "\x1b") || strings.Contains("\n"+answer.text, "\n::") {
				t.Errorf("the answer could be a command:\n%q", answer.text)
			}
		})
	}
}

func TestWarningsStandAtTheirLines(t *testing.T) {
	answer, err := asked(t, engine(t), "check", "FROM scratch AS one\nLABEL a b\n\nMAINTAINER me\n")
	if err != nil {
		t.Fatal(err)
	}
	warnings, ok := errors.AsType[*checkWarnings](answer.err)
	if !ok {
		t.Fatalf("the answer means %v, want warnings", answer.err)
	}
	got := map[string]string{}
	for _, f := range warnings.Found {
		got[f.Rule] = f.Place.String()
	}
	want := map[string]string{"LegacyKeyValueFormat": "deploy/app.Dockerfile:2", "MaintainerDeprecated": "deploy/app.Dockerfile:4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestAnAnswerThatIsNotWholeIsRefused(t *testing.T) {
	d := dockerfile{Shown: "Dockerfile"}
	for name, raw := range map[string]string{
		"no JSON":         `{`,
		"no place":        `{"warnings":[{"ruleName":"x"}],"sources":[{}]}`,
		"no source":       `{"warnings":[{"ruleName":"x","location":{"sourceIndex":3}}],"sources":[{}]}`,
		"no sources":      `{"warnings":[{"ruleName":"x","location":{}}]}`,
		"source is null":  `{"warnings":[{"ruleName":"x","location":{}}],"sources":[null]}`,
		"below the first": `{"warnings":[{"ruleName":"x","location":{"sourceIndex":-9}}],"sources":[{}]}`,
		"no lines":        `{"warnings":[{"ruleName":"x","location":{"ranges":[{}]}}],"sources":[{}]}`,
		"backwards":       `{"warnings":[{"ruleName":"x","location":{"ranges":[{"start":{"line":9},"end":{"line":2}}]}}],"sources":[{}]}`,
		"no line of it":   `{"buildError":{"message":"x","location":{"sourceIndex":4}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if answer, err := readCheck([]byte(raw), d, newWatcher(nil)); err == nil {
				t.Errorf("taken for %+v", answer)
			}
		})
	}
}

// One solve makes the layout and writes files: BuildKit allows one exporter of
// a layout and as many others as one likes.
func TestFilesAreExportedBesideTheLayout(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY file /a/file\n", "file": "text"})
	layout, workspace := emptyLayout(t)
	s := around(dir)
	s.workspace = workspace
	o, err := parseOutputs(Results{Outputs: []string{"out", "type=tar,dest=files.tar"}}, 1, s)
	if err != nil {
		t.Fatal(err)
	}
	defer o.discard()
	date := time.Unix(1_700_000_000, 0)
	exports, err := o.exports(date, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	said, err := parseAttestations(Results{Provenance: "mode=min"}, "https://ci.example.com/run/7")
	if err != nil {
		t.Fatal(err)
	}
	exports = append(exports, client.ExportEntry{
		Type: client.ExporterOCI, Attrs: map[string]string{"tar": "false"}, OutputStore: buildkit.LayoutStore(layout),
	})
	response, err := engine(t).Solve(t.Context(), nil, client.SolveOpt{
		Frontend: "dockerfile.v0", FrontendAttrs: said.attrs, LocalMounts: sources(t, dir), Exports: exports,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.ExporterResponse["containerimage.digest"] == "" {
		t.Errorf("the answer names no image: %v", response.ExporterResponse)
	}
	if err := o.write(t.Context(), layout, v1None); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "out", "a", "file"))
	if err != nil || string(text) != "text" {
		t.Errorf("out/a/file is %q, %v", text, err)
	}
	info, err := os.Stat(filepath.Join(dir, "out", "a", "file"))
	if err != nil || !info.ModTime().Equal(date) {
		t.Errorf("out/a/file is of %v, %v; want %v", info.ModTime(), err, date)
	}
	if info, err := os.Stat(filepath.Join(dir, "files.tar")); err != nil || info.Size() == 0 {
		t.Errorf("files.tar: %v, %v", info, err)
	}
	var provenance struct {
		RunDetails struct{ Builder struct{ ID string } }
	}
	raw, err := os.ReadFile(filepath.Join(dir, "out", "provenance.json"))
	if err == nil {
		var s statement
		if err = json.Unmarshal(raw, &s); err == nil {
			err = json.Unmarshal(s.Predicate, &provenance)
		}
	}
	if err != nil || provenance.RunDetails.Builder.ID != "https://ci.example.com/run/7" {
		t.Errorf("the provenance names the builder %q, %v", provenance.RunDetails.Builder.ID, err)
	}
}
