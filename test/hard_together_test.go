package test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// gate lets steps of builds, which ask it, go on when it is opened.
type gate struct {
	port    string
	waiting chan string // gets who waits
	once    sync.Once
	opened  chan struct{}
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{waiting: make(chan string, 16), opened: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-g.opened:
			return
		default:
		}
		g.waiting <- r.URL.Path
		select {
		case <-g.opened:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(g.open) // before Close, which waits for requests
	g.port = server.URL[strings.LastIndexByte(server.URL, ':')+1:]
	return g
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// await returns when the step named waits.
func (g *gate) await(t *testing.T, want string, r *run) {
	t.Helper()
	select {
	case got := <-g.waiting:
		if got != "/"+want {
			t.Fatalf("step %s waits at the gate; want %s", got, want)
		}
	case <-r.ended:
		t.Fatalf("it ended before its step: %s\n%s", r.cmd.ProcessState, r.stderr)
	case <-time.After(endTimeout):
		t.Fatalf("its step never came to the gate:\n%s", r.stderr)
	}
}

// Builds share one engine. The program that started it, and the step that others
// wait for too, is killed in the middle: the others get what they get alone.
func TestBuildsOnOneStateOutliveAKilledOne(t *testing.T) {
	const step = "FROM base\nARG PORT\nRUN wget -q -O /dev/null http://127.0.0.1:$PORT/%[1]s && echo %[1]s > /made\n"
	w := newBuildWorld(t, map[string]string{
		"a.Dockerfile": fmt.Sprintf(step, "a"), "b.Dockerfile": fmt.Sprintf(step, "b"), "c.Dockerfile": fmt.Sprintf(step, "c"),
	})
	for _, tc := range []struct {
		name   string
		killed string
		others []string
	}{
		{"two builds of the same", "a", []string{"a"}},
		{"four builds", "a", []string{"a", "b", "c"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, state := newGate(t), t.TempDir()
			args := func(which string) []string {
				return []string{"--file=" + which + ".Dockerfile", "--state-dir=" + state, "--build-args=PORT=" + g.port}
			}
			first := w.copied(t)
			killed := first.start("build", args(tc.killed)...)
			g.await(t, tc.killed, killed)
			scenes, runs := []*scene{}, []*run{}
			for _, which := range tc.others {
				s := w.copied(t)
				r := s.start("build", args(which)...)
				if which == tc.killed {
					s.awaits(r, "RUN wget") // it shares the step that waits already
				} else {
					g.await(t, which, r)
				}
				scenes, runs = append(scenes, s), append(runs, r)
			}
			check(t, killed.cmd.Process.Kill())
			killed.await(t)
			g.open()
			for i, r := range runs {
				r.await(t)
				if code := r.cmd.ProcessState.ExitCode(); code != 0 {
					t.Fatalf("a build beside the killed one ended with code %d:\n%s", code, r.stderr)
				}
				if !strings.Contains(r.stderr.String(), "with other builds") {
					t.Errorf("it did not join the engine:\n%s", r.stderr)
				}
				alone := w.copied(t)
				alone.must("build", append(args(tc.others[i]), "--state=private")...)
				if got, want := scenes[i].builtDigest(), alone.builtDigest(); got != want {
					t.Errorf("%s beside others is %s, and alone %s", tc.others[i], got, want)
				}
			}
			checkUnused(t, state)
			again := w.copied(t)
			if _, said := again.run("build", args(tc.killed)...); !strings.Contains(said, "CACHED") {
				t.Errorf("the state has not kept what was built:\n%s", said)
			}
			checkUnused(t, state)
		})
	}
}
