package hello

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// example is the real one: a change that it does not have would measure nothing.
var example = filepath.Join("..", "..", "examples", "hello-go")

func TestTheExampleHasWhatIsChanged(t *testing.T) {
	dir, err := Checkout(t.TempDir(), example)
	if err != nil {
		t.Fatal(err)
	}
	for file, change := range map[string]func() error{
		"main.go":        func() error { return ChangeCode(dir, 1) },
		"web/index.html": func() error { return ChangePage(dir, 1) },
		"Dockerfile":     func() error { return ChangeDockerfile(dir) },
	} {
		before, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if after, _ := os.ReadFile(filepath.Join(dir, file)); string(after) == string(before) {
			t.Errorf("%s is what it was", file)
		}
	}
}

// A change that the compiler drops would measure nothing.
func TestEachRoundChangesOneConstantOfTheExample(t *testing.T) {
	dir := t.TempDir()
	before, err := os.ReadFile(filepath.Join(example, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if err := write(dir, "main.go", string(before)); err != nil {
		t.Fatal(err)
	}
	for round, want := range []string{`"world 0"`, `"world 1"`, `"world 2"`} {
		if err := ChangeCode(dir, round); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(filepath.Join(dir, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if restored := strings.Replace(string(after), want, `"world"`, 1); restored != string(before) {
			t.Errorf("round %d should have made \"world\" %s and changed nothing else; main.go is now:\n%s", round, want, after)
		}
	}
}

func TestCodeWithoutTheConstantIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir, "main.go", "package main\n"); err != nil {
		t.Fatal(err)
	}
	if err := ChangeCode(dir, 1); err == nil || !strings.Contains(err.Error(), `main.go does not hold name = "world`) {
		t.Errorf("ChangeCode of a main.go without the constant: %v", err)
	}
}
