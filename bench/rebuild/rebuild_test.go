package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedianIsTheMiddle(t *testing.T) {
	for _, tc := range []struct {
		name  string
		times []time.Duration
		want  time.Duration
	}{
		{"of an odd number, in any order", []time.Duration{9, 1, 5}, 5},
		{"of an even number, between the two", []time.Duration{8, 2, 4, 90}, 6},
		{"of one", []time.Duration{7}, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := median(tc.times); got != tc.want {
				t.Errorf("median(%v) = %d, want %d", tc.times, got, tc.want)
			}
		})
	}
}

func TestFigureSaysWhetherTheGoalIsMet(t *testing.T) {
	for _, tc := range []struct {
		name  string
		value float64
		want  string
	}{
		{"below", 0.6184, "BENCH rebuild copy-ratio 0.618 <=1.00 ok"},
		{"the goal itself", 1, "BENCH rebuild copy-ratio 1.000 <=1.00 ok"},
		{"above by less than is printed", 1.0004, "BENCH rebuild copy-ratio 1.000 <=1.00 ok"},
		{"above", 1.001, "BENCH rebuild copy-ratio 1.001 <=1.00 short"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := figure("copy-ratio", tc.value, 1); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

// A change that the compiler drops would measure nothing.
func TestEachRoundChangesOneConstantOfTheExample(t *testing.T) {
	dir := t.TempDir()
	before, err := os.ReadFile(filepath.Join("..", "..", "examples", "hello-go", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if err := write(dir, "main.go", string(before)); err != nil {
		t.Fatal(err)
	}
	for round, want := range []string{`"world 0"`, `"world 1"`, `"world 2"`} {
		if err := changeCode(dir, round); err != nil {
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
	if err := changeCode(dir, 1); err == nil || !strings.Contains(err.Error(), `main.go does not hold name = "world`) {
		t.Errorf("changeCode of a main.go without the constant: %v", err)
	}
}

func TestMissingPeerIsNamedWithItsPackage(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := write(root, "bin/imagewright-build", ""); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(root, "nothing"))
	_, err := findPrograms(root)
	if err == nil || !strings.Contains(err.Error(), "apt-get install --no-install-recommends docker.io") {
		t.Errorf("without dockerd on PATH: %v; it should name the package docker.io", err)
	}
}
