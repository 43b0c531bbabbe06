package test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestEverySecretInputHasItsScript holds the scripts secrets-STEP-INPUT to the
// inputs that the programs declare as secrets: a new one without a canary fails
// here.
func TestEverySecretInputHasItsScript(t *testing.T) {
	secret := regexp.MustCompile(`(?m)^  (IMAGEWRIGHT_[A-Z]+_([A-Z_]+))  \(environment only\)$`)
	wanted := map[string]bool{}
	for _, step := range steps() {
		help, err := exec.Command(filepath.Join(bin(), "imagewright-"+step), "--help").Output()
		if err != nil {
			t.Fatalf("imagewright-%s --help: %v", step, err)
		}
		for _, input := range secret.FindAllStringSubmatch(string(help), -1) {
			name := "secrets-" + step + "-" + strings.ToLower(strings.ReplaceAll(input[2], "_", "-")) + ".txtar"
			wanted[name] = true
			script, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Errorf("secret input %s has no script that looks for it: %v", input[1], err)
			} else if !bytes.Contains(script, []byte(input[1])) || !bytes.Contains(script, []byte("\nhidden ")) {
				t.Errorf("%s does not hand a canary over in %s, or does not look for it", name, input[1])
			}
		}
	}
	if len(wanted) < 5 {
		t.Errorf("only %d secret inputs found in what --help says: %q", len(wanted), slices.Sorted(maps.Keys(wanted)))
	}
}

// TestALeakToAChildIsSeen holds the looking itself to what the scripts trust.
func TestALeakToAChildIsSeen(t *testing.T) {
	leak := rand.Text()
	cmd := exec.Command("sh", "-c", "cat; true")
	cmd.Env = append(os.Environ(), "LEAK="+leak)
	feed, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	w := &watch{wanted: map[string]string{leak: "LEAK"}}
	for deadline := time.Now().Add(endTimeout); len(w.found) == 0 && time.Now().Before(deadline); {
		for _, p := range descendants(os.Getpid()) {
			w.look(p)
		}
	}
	if len(w.found) == 0 || !strings.Contains(w.found[0], "in the environment of cat") {
		t.Errorf("found %q; want the environment of cat", w.found)
	}
	check(t, feed.Close())
	check(t, cmd.Wait())
}

// canaries is the variable with the names of a script's canaries.
const canaries = "CANARIES"

// canary [-lines=N] NAME… puts a text into each variable that is nowhere else
// in the world; hidden looks for all of them.
func hideCanary(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	flags := flag.NewFlagSet("canary", flag.ContinueOnError)
	lines := flags.Int("lines", 1, "")
	parse(ts, flags, args)
	if flags.NArg() == 0 {
		ts.Fatalf("usage: canary [-lines=n] name...")
	}
	for _, name := range flags.Args() {
		var text []string
		for range *lines {
			text = append(text, "canary/"+rand.Text()+"+") // what addresses and base64 write in another way
		}
		ts.Setenv(name, strings.Join(text, "\n"))
		ts.Setenv(canaries, ts.Getenv(canaries)+" "+name)
	}
}

// forms are the canaries of a script in all the ways they could show: by form,
// the variable they are in.
func forms(ts *testscript.TestScript) map[string]string {
	found := map[string]string{}
	for _, name := range strings.Fields(ts.Getenv(canaries)) {
		for line := range strings.SplitSeq(ts.Getenv(name), "\n") {
			for _, form := range []string{line, url.QueryEscape(line), url.PathEscape(line)} {
				found[form] = name
			}
			// In base64 a text looks different at each of three offsets; its first
			// and last characters depend on what is around it.
			for offset := range 3 {
				coded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", offset) + line))
				found[coded[4:len(coded)-4]] = name
			}
		}
	}
	if len(found) == 0 {
		ts.Fatalf("there is no canary to look for")
	}
	return found
}

// hidden [-child=NAME] [-handed=NAME] CODE PROGRAM [ARG…] runs a program that
// must end with that code, and looks for all canaries in the arguments of every
// process meanwhile, in the environment of every process that the program
// starts, in what it says, and in the workspace, packed layers too. With -child
// a process of that name must have been looked at; those whose name begins with
// -handed get the canary as an argument from a library that knows no other way,
// and hand it on to their own.
func hidden(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	flags := flag.NewFlagSet("hidden", flag.ContinueOnError)
	child := flags.String("child", "", "")
	handed := flags.String("handed", "", "")
	ts.Check(flags.Parse(args))
	wanted := forms(ts)
	w := watchProcesses(wanted, *handed)
	defer w.stop() // exits may not return
	exits(ts, neg, flags.Args())
	w.stop()
	for _, seen := range w.found {
		ts.Fatalf("%s", seen)
	}
	if *child != "" && !strings.Contains(w.names, *child) {
		ts.Fatalf("no process %s was seen", *child)
	}
	for _, stream := range []string{"stdout", "stderr"} {
		if name := findForm(wanted, ts.ReadFile(stream)); name != "" {
			ts.Fatalf("the canary in $%s shows on %s", name, stream)
		}
	}
	files, err := readTree(ts.MkAbs("."), ".imagewright")
	ts.Check(err)
	for path, text := range files {
		if name := findForm(wanted, text+unpacked(text)); name != "" {
			ts.Fatalf("the canary in $%s is in %s", name, path)
		}
	}
}

func findForm(wanted map[string]string, text string) (name string) {
	for form, name := range wanted {
		if strings.Contains(text, form) {
			return name
		}
	}
	return ""
}

// unpacked is what a gzip file holds, and empty for another.
func unpacked(text string) string {
	z, err := gzip.NewReader(strings.NewReader(text))
	if err != nil {
		return ""
	}
	plain, _ := io.ReadAll(z) // as much as there is of a damaged one
	return string(plain)
}

// watch looks at the processes below this one until it is stopped.
type watch struct {
	wanted map[string]string
	handed string // how a program's name begins
	found  []string
	names  string // of all that were looked at
	quit   chan struct{}
	done   chan struct{}
	once   sync.Once
}

func watchProcesses(wanted map[string]string, handed string) *watch {
	w := &watch{wanted: wanted, handed: handed, quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, p := range descendants(os.Getpid()) {
				w.look(p)
			}
			select {
			case <-tick.C:
			case <-w.quit:
				return
			}
		}
	}()
	return w
}

func (w *watch) stop() {
	w.once.Do(func() { close(w.quit) })
	<-w.done
}

// look looks at one process. Those that the test itself started were handed
// the canary in their environment.
func (w *watch) look(p process) {
	if !strings.Contains(w.names, p.arguments) {
		w.names += p.arguments + "\n"
	}
	if w.handed != "" && under(&p, w.handed) {
		return
	}
	if name := findForm(w.wanted, p.arguments); name != "" {
		w.found = append(w.found, "the canary in $"+name+" is an argument of "+p.arguments)
	}
	if p.parent.id == os.Getpid() {
		return
	}
	environ := p.read("environ")
	// Between fork and exec a process still shows its parent's memory.
	if name := findForm(w.wanted, environ); name != "" && p.read("cmdline") == p.arguments && p.arguments != p.parent.arguments {
		w.found = append(w.found, "the canary in $"+name+" is in the environment of "+p.arguments)
	}
}

// under tells whether p, or one it comes from, is a program or a shell's script
// whose name begins so.
func under(p *process, name string) bool {
	for ; p != nil; p = p.parent {
		arguments := strings.SplitN(p.arguments, "\x00", 3)
		if slices.ContainsFunc(arguments[:min(2, len(arguments))], func(a string) bool {
			return strings.HasPrefix(filepath.Base(a), name)
		}) {
			return true
		}
	}
	return false
}
