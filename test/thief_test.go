package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagewright/imagewright/test/database"
	"github.com/imagewright/imagewright/test/images"
)

// burglary is imagewright-scan with a thief in it, something for it to scan, and
// a household to rob. steps/scan/sandbox tries the thief's ways one by one; here
// it is taken along by the program that users run.
type burglary struct {
	dir       string // with the program, its image and its database
	household string // the program that plants
}

// theft is what came of it.
type theft struct {
	Done struct {
		Code int
		Said string
	}
	Outcomes []struct {
		Name, Why string
		Succeeded bool
	}
}

// scanArgs are of a scan without a network; the program is the first.
func scanArgs(sandbox string) []string {
	return []string{"imagewright-scan", "--source=image.tar", "--cache-dir=cache", "--skip-db-update", "--layer-cache=false", "--sandbox=" + sandbox}
}

func newBurglary(t *testing.T) burglary {
	t.Helper()
	b := burglary{dir: filepath.Join(t.TempDir(), "checkout"), household: filepath.Join(t.TempDir(), "burglary")}
	check(t, os.Mkdir(b.dir, 0o755))
	writeScannable(t, b.dir)
	for program, source := range map[string]string{
		filepath.Join(b.dir, "imagewright-scan"): "./steps/scan/imagewright-scan",
		b.household:                              "./steps/scan/sandbox/testdata/burglary",
	} {
		build := exec.CommandContext(t.Context(), "go", "build", "-tags=grpcnotrace,thief", "-ldflags=-s -w", "-o", program, source)
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s with a thief: %v: %s", source, err, out)
		}
	}
	return b
}

// writeScannable writes an image with a critical vulnerability and a secret, and
// a database that knows the one.
func writeScannable(t *testing.T, dir string) {
	t.Helper()
	busybox, err := images.Busybox()
	check(t, err)
	layer, err := images.TextLayer(map[string]string{
		"etc/debian_version":  "12.5\n",
		"var/lib/dpkg/status": "Package: zlib1g\nStatus: install ok installed\nSource: zlib\nVersion: 1:1.2.13.dfsg-1\nArchitecture: amd64\nMaintainer: a\n",
		"app/notes.txt":       "a key: AKIAQ3EGRIX5XJ2RZV7T\n",
	})
	check(t, err)
	image, err := images.Compose(busybox, []images.Step{{CreatedBy: "COPY all", Layer: layer}}, nil)
	check(t, err)
	check(t, images.WriteArchive(filepath.Join(dir, "image.tar"), image))
	check(t, database.Write(filepath.Join(dir, "cache", "db"), database.Options{}))
}

// scan has the program scan as user, with its thief.
func (b burglary) scan(t *testing.T, user int, sandbox string) (x theft) {
	t.Helper()
	plan, err := json.Marshal(map[string]any{"User": user, "Work": map[string]any{"Dir": b.dir, "Args": scanArgs(sandbox)}})
	check(t, err)
	cmd := exec.CommandContext(t.Context(), b.household, string(plan))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS, // household.Namespaces
		Pdeathsig:  syscall.SIGKILL,
	}
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("a household has file systems and a network of its own: %v", err)
	}
	if err == nil {
		err = json.Unmarshal(out, &x)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, words.Bytes())
	}
	if least := 44; len(x.Outcomes) < least {
		t.Fatalf("the thief tried %d ways, want %d at least:\n%s", len(x.Outcomes), least, x.Done.Said)
	}
	return x
}

func TestAThiefInTheScannerTakesNothing(t *testing.T) {
	b := newBurglary(t)
	for _, owner := range []struct {
		name string
		id   int
	}{{"of root's", 0}, {"of a user's", 1000}} {
		t.Run(owner.name, func(t *testing.T) {
			x := b.scan(t, owner.id, "require")
			for _, o := range x.Outcomes {
				if o.Succeeded {
					t.Errorf("%s succeeded", o.Name)
				}
			}
			if x.Done.Code != 3 || !strings.Contains(x.Done.Said, "CVE-2023-45853") || !strings.Contains(x.Done.Said, "2 CRITICAL; fail-on critical: fail\n") {
				t.Errorf("the scan ended with code %d, want 3 for a vulnerability and a secret:\n%s", x.Done.Code, x.Done.Said)
			}
		})
	}
	t.Run("but all that there is without a sandbox", b.takesAll)
}

// missing are the ways for which there is nothing to take, with or without a
// sandbox: the second process is started without environment, with no secret
// among the arguments and no descriptor of a file, and nothing is told about the
// memory of the first that could be changed.
func missing() []string {
	return []string{
		"its own environment", "its own environment in /proc", "the parent's command line", "changing the parent's memory",
		"the parent's open files in /proc", "the parent's open files by pidfd_getfd",
		"a descriptor that leaked", "a lent file, opened anew for writing",
	}
}

func (b burglary) takesAll(t *testing.T) {
	x := b.scan(t, 0, "off")
	taken := 0
	for _, o := range x.Outcomes {
		if o.Succeeded {
			taken++
		}
		if o.Succeeded == slices.Contains(missing(), o.Name) {
			t.Errorf("%s: success is %t, %s", o.Name, o.Succeeded, o.Why)
		}
	}
	if least := 95; taken < least {
		t.Errorf("%d ways succeeded, want %d at least", taken, least)
	}
	// The last way, of which it cannot tell any more, is to become another program.
	if x.Done.Code != 1 || !strings.Contains(x.Done.Said, "no verdict: the process that reads the image broke off: exit status 42;") {
		t.Errorf("the scan ended with code %d, want 1 and no verdict:\n%s", x.Done.Code, x.Done.Said)
	}
	t.Logf("%d of %d ways succeed without the sandbox", taken, len(x.Outcomes))
}

func TestNoThiefIsInTheProgramThatUsersRun(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(bin(), "imagewright-scan"))
	check(t, err)
	if scene := "/run/thief/scene.json"; bytes.Contains(text, []byte(scene)) { // thief.ScenePath
		t.Errorf("imagewright-scan knows of %s: it was built with the tag thief", scene)
	}
}

// Whole scans, by the program without a thief.
func TestWhatTheSandboxCosts(t *testing.T) {
	const turns = 10
	program, err := filepath.Abs(filepath.Join(bin(), "imagewright-scan"))
	check(t, err)
	dir := t.TempDir()
	writeScannable(t, dir)
	took := map[string][]time.Duration{}
	for range turns {
		for _, mode := range []string{"off", "require"} {
			cmd := exec.CommandContext(t.Context(), program)
			cmd.Args, cmd.Dir, cmd.Env = scanArgs(mode), dir, []string{"HOME=" + dir, "TMPDIR=" + dir}
			begun := time.Now()
			out, _ := cmd.CombinedOutput() // the code is looked at
			took[mode] = append(took[mode], time.Since(begun))
			if code := cmd.ProcessState.ExitCode(); code != 3 {
				t.Fatalf("sandbox=%s: exit code %d, want 3 for a vulnerability and a secret:\n%s", mode, code, out)
			}
		}
	}
	for _, all := range took {
		slices.Sort(all)
	}
	t.Logf("a scan takes %v with the sandbox and %v without; at best %v and %v",
		took["require"][turns/2], took["off"][turns/2], took["require"][0], took["off"][0])
}
