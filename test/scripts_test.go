// Package test runs the built programs end to end: the scripts of testdata
// against a real registry, and the pipeline under real CI runners.
package test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// steps are the programs that `make build` makes and every test here runs.
func steps() []string { return []string{"build", "scan", "tag", "push", "prune"} }

func TestMain(m *testing.M) {
	flag.Bool("full", false, "give large images their whole size, not a tenth")
	for _, step := range steps() {
		path := filepath.Join(bin(), "imagewright-"+step)
		if _, err := os.Stat(path); err != nil {
			fmt.Fprintf(os.Stderr, "%v\nthe programs under test are built first: make build\n", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// TestScripts runs each script of testdata. Beside testscript's own commands
// they have those of [commands]; the environment holds nothing of ours but PATH.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Setup:               setup,
		Cmds:                commands(),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
	})
}

func setup(env *testscript.Env) error {
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	home := filepath.Join(env.WorkDir, ".home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	env.Setenv("PATH", filepath.Join(root, "bin")+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("HOME", home)
	env.Setenv("ROOT", root)
	// A builder of its own for each script: two at once would wait for one lock.
	env.Setenv("IMAGEWRIGHT_BUILD_STATE_DIR", filepath.Join(env.WorkDir, ".state"))
	env.Values[stateKey{}] = newState()
	return nil
}

func bin() string { return filepath.Join("..", "bin") }
