package builder

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/buildkit/docker"
	"github.com/imagewright/imagewright/internal/buildkit/remote"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/test/buildkitd"
	"github.com/imagewright/imagewright/test/dockerd"
)

func TestMain(m *testing.M) {
	buildkit.ServeIfChild() // the engine is this test program, run again
	os.Exit(m.Run())
}

// options are those of a place where nothing works: there is no runtime, and no
// Docker Engine.
func options(t *testing.T) (Options, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	dir := t.TempDir()
	environ := []string{"PATH=" + dir, "DOCKER_HOST=unix://" + filepath.Join(dir, "docker.sock")}
	return Options{
		Embedded: buildkit.Options{StateDir: filepath.Join(dir, "state"), Environ: environ},
		Environ:  environ,
		Log:      slog.New(slog.NewTextHandler(&log, nil)),
	}, &log
}

// working is o where BuildKit can run.
func working(o Options) Options {
	o.Embedded.Environ = []string{"PATH=" + os.Getenv("PATH")}
	return o
}

func open(t *testing.T, line string, o Options) (*Builder, error) {
	t.Helper()
	nodes, err := Parse([]string{line})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), nodes[0], o)
	if err == nil {
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return b, err
}

func TestAutoBuildsInThisProgramWhereItCan(t *testing.T) {
	o, log := options(t)
	b, err := open(t, "auto", working(o))
	if err != nil {
		t.Fatal(err)
	}
	if b.Kind != Embedded || !b.Dates || b.Classic() || len(b.Platforms) == 0 {
		t.Errorf("the builder is %+v; want the embedded one, with its platforms", b)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "embedded (root)") {
		t.Errorf("the choice must be one line of the log, with its reason; it is\n%s", log)
	}
}

func TestWhereNothingWorksATableSaysWhyAndWhatHelps(t *testing.T) {
	o, _ := options(t)
	_, err := open(t, "auto", o)
	if err == nil {
		t.Fatal("there is a builder")
	}
	if fault.Code(err) != fault.ExitUsage || fault.Hint(err) != "" || !errors.Is(err, buildkit.ErrNoRuntime) {
		t.Errorf("exit %d, hint %q, %v; want exit 2, all hints in the table, and ErrNoRuntime among the causes", fault.Code(err), fault.Hint(err), err)
	}
	lines := strings.Split(err.Error(), "\n")
	var names []string
	for i, line := range lines {
		if i == 0 {
			continue
		}
		if len([]rune(line)) > 2+len(hostVariable)+2+tableWidth+2 && strings.Count(line, " ") > 20 {
			t.Errorf("line %d is too long for a log: %q", i, line)
		}
		// The second column begins at the same place in every line.
		name, text := strings.TrimSpace(line[:17]), line[17:]
		if strings.HasPrefix(text, " ") && !strings.HasPrefix(text, "  ") || text == "" {
			t.Errorf("line %d is not aligned: %q", i, line)
		}
		if name != "" {
			names = append(names, name)
		}
	}
	if strings.Join(names, " ") != "embedded docker BUILDKIT_HOST" {
		t.Errorf("the table is about %q:\n%v", names, err)
	}
	for _, want := range []string{"no runc or crun", "→ install package runc", "docker.sock", "→ start Docker", "it is not set", "→ set it, or builder,"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in the table:\n%v", want, err)
		}
	}
}

func TestAnAddressInTheEnvironmentIsTheOnlyChoice(t *testing.T) {
	server := buildkitd.Start(t, buildkitd.Options{})
	o, log := options(t)
	o = working(o)
	o.Environ = append(o.Environ, "BUILDKIT_HOST="+server.Addr)
	b, err := open(t, "auto", o)
	if err != nil {
		t.Fatal(err)
	}
	if b.Kind != Remote || b.Where != server.Addr || b.Dates || len(b.Platforms) == 0 {
		t.Errorf("the builder is %+v, want %s", b, server.Addr)
	}
	if !strings.Contains(log.String(), "BUILDKIT_HOST says so") {
		t.Errorf("the log does not say why:\n%s", log)
	}

	t.Run("unreachable", func(t *testing.T) {
		o.Environ = append(o.Environ, "BUILDKIT_HOST=ssh://builder") // and no ssh on this PATH
		_, err := open(t, "auto", o)
		if !errors.As(err, new(*remote.Unreachable)) || !strings.HasPrefix(err.Error(), "BUILDKIT_HOST: builder ssh://builder: ") || fault.Code(err) != fault.ExitFailed {
			t.Errorf("exit %d, %v; want exit 1 and the address", fault.Code(err), err)
		}
	})
	t.Run("no address", func(t *testing.T) {
		o.Environ = append(o.Environ, "BUILDKIT_HOST=tcp://me:hunter2@builder")
		_, err := open(t, "auto", o)
		if fault.Code(err) != fault.ExitUsage || !strings.HasPrefix(err.Error(), "BUILDKIT_HOST: ") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("exit %d, %v; want exit 2 without the password", fault.Code(err), err)
		}
	})
	t.Run("the input wins", func(t *testing.T) {
		b, err := open(t, "embedded", o)
		if err != nil {
			t.Fatal(err)
		}
		if b.Kind != Embedded {
			t.Errorf("the builder is %s", b.Where)
		}
	})
}

func TestWhatTheUserMustPutRightIsNoReasonToBuildElsewhere(t *testing.T) {
	o, _ := options(t)
	o = working(o)
	o.Embedded.CABundle = filepath.Join(t.TempDir(), "none.pem")
	_, err := open(t, "auto", o)
	if fault.Code(err) != fault.ExitUsage || !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "docker") {
		t.Errorf("exit %d, %v; want the missing file alone", fault.Code(err), err)
	}
}

func TestTLSOfABuilderThatSpeaksNoneIsWarnedAbout(t *testing.T) {
	o, log := options(t)
	o.TLS.CACert = "ca.pem"
	if _, err := open(t, "embedded", working(o)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "count for tcp:// builders only") {
		t.Errorf("the log is\n%s", log)
	}
	t.Run("and not where it counts", func(t *testing.T) {
		authority := buildkitd.NewAuthority(t)
		server := buildkitd.Start(t, buildkitd.Options{TLS: authority.Issue(t, "builder", "127.0.0.1")})
		o, log := options(t)
		o.TLS.CACert = authority.File
		o.Environ = append(o.Environ, "BUILDKIT_HOST="+server.Addr)
		if _, err := open(t, "auto", o); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(log.String(), "count for") {
			t.Errorf("the log is\n%s", log)
		}
	})
}

func TestABuilderThatDiesInTheMiddleIsNamed(t *testing.T) {
	server := buildkitd.Start(t, buildkitd.Options{})
	o, _ := options(t)
	b, err := open(t, server.Addr, o)
	if err != nil {
		t.Fatal(err)
	}
	other := errors.New("a step failed")
	if got := b.Lost(t.Context(), other); got != other {
		t.Errorf("a step's failure becomes %v", got)
	}
	server.Kill(t)
	_, cause := b.Client.Info(t.Context())
	if cause == nil {
		t.Fatal("a killed builder answers")
	}
	lost := b.Lost(t.Context(), cause)
	if !errors.As(lost, new(*Gone)) || !errors.Is(lost, cause) || !strings.HasPrefix(lost.Error(), "builder "+server.Addr+": it is gone") || fault.Hint(lost) == "" {
		t.Errorf("the loss is %v, hint %q", lost, fault.Hint(lost))
	}
}

func TestAutoTakesADockerEngineWhereNothingElseIs(t *testing.T) {
	engine := dockerd.Start(t) // with the classic store: a newer one's is not in Debian
	o, log := options(t)
	o.Environ = append(o.Environ, "DOCKER_HOST=unix://"+engine.Socket)
	b, err := open(t, "auto", o)
	if err != nil {
		t.Fatal(err)
	}
	if b.Kind != Docker || b.Dates || !b.Classic() || !strings.Contains(b.Where, engine.Socket) || len(b.Platforms) == 0 {
		t.Errorf("the builder is %+v; want the engine's own", b)
	}
	for _, want := range []string{"embedded is not possible: ", "docker-privileged is not possible: "} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is missing in the log:\n%s", want, log)
		}
	}

	t.Run("but not when it cannot do what is asked", func(t *testing.T) {
		o.Needs = docker.Needs{CacheTo: []string{"registry"}}
		_, err := open(t, "auto", o)
		if fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), "docker-privileged") || !strings.Contains(err.Error(), "cache-to") {
			t.Errorf("exit %d, %v; want exit 2 and a table that names the input", fault.Code(err), err)
		}
		_, err = open(t, "docker", o)
		if fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), "cache-to") || strings.Contains(err.Error(), "\n") {
			t.Errorf("exit %d, %v; want exit 2 and the input alone", fault.Code(err), err)
		}
	})
}
