package step

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imagewright/imagewright/internal/fault"
)

type fakeInputs struct {
	Command  string   `name:"command" enum:"plan,apply" default:"plan" help:"What to do."`
	Images   []string `name:"images" placeholder:"REPOSITORY" help:"Repositories to push to, one a line."`
	Password string   `name:"password" secret:"" group:"Registry" help:"Password of the registry."`
	Common
}

type fake struct {
	in  fakeInputs
	run func(ctx context.Context, job *Job, in fakeInputs) error
}

func (f *fake) Declaration() Declaration {
	return Declaration{
		Name: "push", Summary: "Sends images.",
		Commands: []Command{{"plan", "Says what would be done."}, {"apply", "Does it."}},
		Examples: []Example{{"Send it", "imagewright-push --images=ghcr.io/acme/hello"}},
		Outputs:  []Output{{"digest", "Digest of the image."}},
	}
}
func (f *fake) Inputs() any { return &f.in }
func (f *fake) Run(ctx context.Context, job *Job) error {
	return f.run(ctx, job, f.in)
}

// execute runs a step with args and environ in dir and returns its exit code,
// results and log.
func execute(t *testing.T, dir string, args, environ []string, run func(context.Context, *Job, fakeInputs) error) (int, string, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Run(t.Context(), &fake{run: run}, Process{Args: args, Environ: environ, Stdout: &stdout, Stderr: &stderr, Dir: dir})
	return code, stdout.String(), stderr.String()
}

func TestExitCodesComeFromErrorTypes(t *testing.T) {
	boom := errors.New("push ghcr.io/acme/hello: it broke")
	for _, tc := range []struct {
		name string
		run  func(context.Context, *Job, fakeInputs) error
		code int
		log  string
	}{
		{"done", func(context.Context, *Job, fakeInputs) error { return nil }, 0, ""},
		{"failed", func(context.Context, *Job, fakeInputs) error { return boom }, 1, "imagewright-push: push ghcr.io/acme/hello: it broke\n"},
		{"usage", func(context.Context, *Job, fakeInputs) error { return fault.Usage(boom, "do this") }, 2, "it broke; do this\n"},
		{"refused", func(context.Context, *Job, fakeInputs) error { return fault.Refused(boom, "") }, 3, "it broke\n"},
		{"a bug is no usage error", func(context.Context, *Job, fakeInputs) error { panic("oops") }, 1, "internal error: oops"},
		{"escapes in an error", func(context.Context, *Job, fakeInputs) error { return errors.New("bad \x1b[31mname") }, 1, `bad \u001b[31mname` + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, log := execute(t, t.TempDir(), nil, nil, tc.run)
			if code != tc.code || !strings.Contains(log, tc.log) {
				t.Errorf("exit code %d, log %q; want %d and %q", code, log, tc.code, tc.log)
			}
		})
	}
}

func TestNoTextOfAnErrorOrTheLogCommandsTheRunner(t *testing.T) {
	code, _, log := execute(t, t.TempDir(), nil, []string{"GITHUB_ACTIONS=true"}, func(_ context.Context, job *Job, _ fakeInputs) error {
		job.Log.Info("read", "file", "a ##[add-mask]b")
		return errors.New("read x\n::add-mask::y: broken")
	})
	if code != 1 || strings.Contains(log, "##[") || strings.Contains(log, "\n::add-mask") {
		t.Errorf("exit code %d, log %q; want 1 and no command in it", code, log)
	}
}

func TestASignalEndsWithItsOwnCode(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	var stdout, stderr bytes.Buffer
	code := Run(ctx, &fake{run: func(ctx context.Context, _ *Job, _ fakeInputs) error {
		cancel(&stopped{syscall.SIGTERM})
		return ctx.Err()
	}}, Process{Stdout: &stdout, Stderr: &stderr, Dir: t.TempDir()})
	if code != 143 || !strings.Contains(stderr.String(), "stopped by terminated") {
		t.Errorf("exit code %d, log %q; want 143 and what stopped it", code, stderr.String())
	}
}

func TestSecretsNeverShow(t *testing.T) {
	const secret = "c4n4ry p/ss"
	dir := t.TempDir()
	code, results, log := execute(t, dir, nil, []string{"INPUT_PASSWORD=" + secret}, func(_ context.Context, job *Job, in fakeInputs) error {
		job.Log.Info("login", "password", in.Password)
		for _, b := range []byte("result " + in.Password + "\n") { // one byte at a time
			if _, err := job.Stdout.Write([]byte{b}); err != nil {
				return err
			}
		}
		return errors.New("login with " + in.Password + ", encoded YzRuNHJ5IHAvc3M=")
	})
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, shown := range []string{results, log} {
		if strings.Contains(shown, "c4n4ry") || strings.Contains(shown, "YzRuNHJ5IHAvc3M=") {
			t.Errorf("the secret shows: %q", shown)
		}
	}
	if results != "result ***\n" {
		t.Errorf("results are %q, want the rest of the line intact", results)
	}
}

// A runner that reads three asterisks hides those, and shows the secret in the
// log of every later step.
func TestTheRunnerHearsWhatToHide(t *testing.T) {
	_, _, log := execute(t, t.TempDir(), nil, []string{"GITHUB_ACTIONS=true", "INPUT_PASSWORD=s3cr3t"}, func(_ context.Context, job *Job, in fakeInputs) error {
		job.Mask("an0ther")
		job.Log.Info("login", "password", in.Password)
		return nil
	})
	for _, want := range []string{"::add-mask::s3cr3t\n", "::add-mask::an0ther\n"} {
		if strings.Count(log, want) != 1 {
			t.Errorf("log is %q, want %q in it once", log, want)
		}
	}
	if rest := strings.ReplaceAll(log, "::add-mask::s3cr3t", ""); strings.Contains(rest, "s3cr3t") {
		t.Errorf("the secret shows beside the command that hides it: %q", log)
	}
}

func TestTheMaskHoldsBackNothingForEver(t *testing.T) {
	var out bytes.Buffer
	m := &masker{}
	m.add("secret")
	w := m.writer(&out)
	for _, piece := range []string{"a sec", "ond; a sec", "ret; se"} {
		if _, err := w.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	w.flush()
	if want := "a second; a ***; se"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestOutputsAndSummaryReachTheWorkspace(t *testing.T) {
	dir := t.TempDir()
	code, _, log := execute(t, dir, nil, nil, func(_ context.Context, job *Job, _ fakeInputs) error {
		job.Output("digest", "old")
		job.Output("digest", "sha256:aa")
		job.Output("image-tags", "a\nb\n")
		job.Summary("### Pushed\n")
		return fault.Refused(errors.New("no"), "")
	})
	if code != 3 {
		t.Fatalf("exit code %d: %s", code, log)
	}
	for name, want := range map[string]string{
		"push.env":        "IW_PUSH_DIGEST=sha256:aa\nIW_PUSH_IMAGE_TAGS=a,b\n",
		"reports/push.md": "### Pushed\n",
	} {
		got, err := os.ReadFile(filepath.Join(dir, ".imagewright", name))
		if err != nil || string(got) != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
}

func TestOutputsThatGetLostFailTheStep(t *testing.T) {
	dir := t.TempDir()
	code, _, log := execute(t, dir, nil, []string{"GITHUB_ACTIONS=true", "GITHUB_OUTPUT=" + filepath.Join(dir, "none", "output")},
		func(_ context.Context, job *Job, _ fakeInputs) error { job.Output("digest", "x"); return nil })
	if code != 1 || !strings.Contains(log, "GITHUB_OUTPUT") {
		t.Errorf("exit code %d, log %q; want 1 and the variable's name", code, log)
	}
}

func TestAVerbIsTheCommandInput(t *testing.T) {
	for _, tc := range []struct {
		args    []string
		environ []string
		want    string
		code    int
	}{
		{nil, nil, "plan", 0},
		{[]string{"apply"}, nil, "apply", 0},
		{nil, []string{"INPUT_COMMAND=apply"}, "apply", 0},
		{[]string{"destroy"}, nil, "", 2},
	} {
		got := ""
		code, _, log := execute(t, t.TempDir(), tc.args, tc.environ, func(_ context.Context, _ *Job, in fakeInputs) error { got = in.Command; return nil })
		if code != tc.code || got != tc.want {
			t.Errorf("%q %q: command %q, exit code %d, log %q; want %q and %d", tc.args, tc.environ, got, code, log, tc.want, tc.code)
		}
	}
}

func TestTheFileInTheCheckoutCounts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "imagewright.yaml"), []byte("version: 1\npush:\n  images: [a, b]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var got []string
	code, _, log := execute(t, dir, nil, nil, func(_ context.Context, _ *Job, in fakeInputs) error { got = in.Images; return nil })
	if code != 0 || strings.Join(got, " ") != "a b" {
		t.Errorf("images are %q, exit code %d, log %q", got, code, log)
	}
}

func TestHelpSaysAllThatAUserMustKnow(t *testing.T) {
	code, help, _ := execute(t, t.TempDir(), []string{"--help"}, nil, nil)
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, part := range []string{
		"Sends images.", "Usage: imagewright-push [command]", "apply     Does it.",
		"$ imagewright-push --images=ghcr.io/acme/hello", "--images=REPOSITORY",
		"IMAGEWRIGHT_PUSH_PASSWORD  (environment only)", "Every step:", "--log-level=debug|info|warn|error  (default info)",
		"INPUT_LOG-LEVEL", "PLUGIN_LOG_LEVEL", "Exit codes: 0 done, 1 failed, 2 bad input, 3 refused by policy.",
	} {
		if !strings.Contains(strings.Join(strings.Fields(help), " "), strings.Join(strings.Fields(part), " ")) {
			t.Errorf("help says nothing of %q:\n%s", part, help)
		}
	}
	for line := range strings.Lines(help) {
		if len(line) > helpWidth+1 {
			t.Errorf("line of %d columns: %q", len(line), line)
		}
	}
}

func TestAWorkspaceThatLinksElsewhereIsRefused(t *testing.T) {
	for _, link := range []string{".imagewright", ".imagewright/record", ".imagewright/reports"} {
		dir, elsewhere := t.TempDir(), t.TempDir()
		path := filepath.Join(dir, link)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(elsewhere, path)); err != nil {
			t.Fatal(err)
		}
		code, _, log := execute(t, dir, nil, nil, func(_ context.Context, job *Job, _ fakeInputs) error { job.Output("digest", "x"); return nil })
		if code != 2 || !strings.Contains(log, "is a symbolic link") {
			t.Errorf("%s: exit code %d, log %q; want 2 and the reason", link, code, log)
		}
		if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) != 0 {
			t.Errorf("%s: %d files landed behind the link (%v)", link, len(entries), err)
		}
	}
}

func TestWhatRootMadeBelongsToTheOwnerOfTheCheckout(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes files that another user cannot remove")
	}
	const owner = 65534
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "workspace")
	if err := os.Chown(dir, owner, owner); err != nil {
		t.Fatal(err)
	}
	output := func(_ context.Context, job *Job, _ fakeInputs) error { job.Output("digest", "x"); return nil }
	for _, args := range [][]string{nil, {"--dir=" + outside}} {
		if code, _, log := execute(t, dir, args, nil, output); code != 0 {
			t.Fatalf("exit code %d: %s", code, log)
		}
	}
	for path, want := range map[string]uint32{
		filepath.Join(dir, ".imagewright"):             owner,
		filepath.Join(dir, ".imagewright", "push.env"): owner,
		filepath.Join(outside, "push.env"):             0,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != want {
			t.Errorf("%s belongs to %d, want %d", path, got, want)
		}
	}
}
