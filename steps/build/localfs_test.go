package build

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContextLeavesOutWorkspaceAndLogins(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{
		"Dockerfile",
		"app/main.go",
		"app/gha-creds-0a1b2c.json",
		"gha-creds-0a1b2c.json",
		"gha-creds.json", // some file of the user's
		"my-gha-creds-1.json",
		".imagewright/image/index.json",
		"out[1]/work/record/build.json",
		"out[1]/work2",
		"sub/.imagewright/kept", // not a workspace: only its name is the same
	} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name, dir, workspace string
		want                 []string
	}{
		{"workspace with glob characters", ".", "out[1]/work", []string{
			"Dockerfile", "app", "app/main.go", "gha-creds.json", "my-gha-creds-1.json", "out[1]", "out[1]/work2", "sub", "sub/.imagewright", "sub/.imagewright/kept",
		}},
		{"workspace outside the context", "app", ".imagewright", []string{"main.go"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files, err := contextFS(filepath.Join(root, tc.dir), filepath.Join(root, tc.workspace), false)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			err = files.Walk(context.Background(), "", func(path string, _ fs.DirEntry, err error) error {
				got = append(got, filepath.ToSlash(path))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("files of the context (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUmaskOfTheRunnerIsNotInTheContext(t *testing.T) {
	root := t.TempDir()
	modes := map[string]fs.FileMode{ // as made by umask 002 and 000, and by hand
		"a": fs.ModeDir | fs.ModeSetgid | 0o775, "a/program": 0o775, "b": fs.ModeDir | 0o777, "b/text": 0o666, "key": 0o600, "z": fs.ModeSetuid | 0o755,
	}
	for _, name := range slices.Sorted(maps.Keys(modes)) {
		path, make := filepath.Join(root, name), func(path string) error { return os.WriteFile(path, nil, 0o600) }
		if modes[name].IsDir() {
			make = func(path string) error { return os.Mkdir(path, 0o700) }
		}
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, modes[name]); err != nil {
			t.Fatal(err)
		}
	}
	for tracked, want := range map[bool]map[string]string{
		false: {"a": "dgrwxrwxr-x", "a/program": "-rwxrwxr-x", "b": "drwxrwxrwx", "b/text": "-rw-rw-rw-", "key": "-rw-------", "z": "urwxr-xr-x"},
		true:  {"a": "drwxr-xr-x", "a/program": "-rwxr-xr-x", "b": "drwxr-xr-x", "b/text": "-rw-r--r--", "key": "-rw-------", "z": "urwxr-xr-x"},
	} {
		files, err := contextFS(root, filepath.Join(root, ".imagewright"), tracked)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		err = files.Walk(context.Background(), "", func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err == nil {
				got[path] = info.Mode().String()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("modes in a checkout: %v (-want +got):\n%s", tracked, diff)
		}
	}
}
