package buildkit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
)

// solved is what came of a build.
type solved struct {
	root   v1.Descriptor
	layout *image.Layout
	ran    []string // the steps that were not cached
	log    string   // what steps printed, and what went wrong in them
	err    error
}

// solve builds dir with what change adds to the usual options.
func solve(t *testing.T, e *Engine, dir string, change func(*client.SolveOpt)) solved {
	t.Helper()
	files, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := solved{layout: newLayout(t)}
	store := LayoutStore(s.layout)
	o := client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: map[string]string{},
		LocalMounts:   map[string]fsutil.FS{"context": files, "dockerfile": files},
		Exports: []client.ExportEntry{{
			Type: client.ExporterOCI, OutputStore: store,
			Attrs: map[string]string{"tar": "false", "source-date-epoch": "1700000000"},
		}},
	}
	if change != nil {
		change(&o)
	}
	status, watched := make(chan *client.SolveStatus), make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(status)
	}()
	response, err := e.Client().Solve(t.Context(), nil, o, status)
	<-watched
	if s.err = errors.Join(err, store.Err()); s.err != nil {
		return s
	}
	raw, err := base64.StdEncoding.DecodeString(response.ExporterResponse["containerimage.descriptor"])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(json.Unmarshal(raw, &s.root), s.layout.SetRoot(s.root)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *solved) watch(status <-chan *client.SolveStatus) {
	last, cached := map[string]*client.Vertex{}, map[string]bool{} // by step
	for part := range status {
		for _, l := range part.Logs {
			s.log += string(l.Data)
		}
		for _, v := range part.Vertexes {
			id := v.Digest.String()
			last[id] = v
			cached[id] = cached[id] || v.Cached // later it may be fetched, which looks like a run
			if v.Error != "" {
				s.log += fmt.Sprintf("%s: %s\n", v.Name, v.Error)
			}
		}
	}
	for id, v := range last {
		if v.Completed != nil && !cached[id] {
			s.ran = append(s.ran, v.Name)
		}
	}
}

// ranRUN says that a RUN ran.
func (s *solved) ranRUN() bool { return strings.Contains(strings.Join(s.ran, "\n"), " RUN ") }

// mustSolve is solve of what must succeed.
func mustSolve(t *testing.T, e *Engine, dir string, change func(*client.SolveOpt)) solved {
	t.Helper()
	s := solve(t, e, dir, change)
	if s.err != nil {
		t.Fatalf("%v\n%s", s.err, s.log)
	}
	return s
}

// layerDigests are those of an image's layers, a line each.
func layerDigests(t *testing.T, s solved) string {
	t.Helper()
	var m v1.Manifest
	readJSON(t, s.layout, s.root, &m)
	var lines []string
	for _, l := range m.Layers {
		lines = append(lines, l.Digest.String())
	}
	return strings.Join(lines, "\n")
}
