package build

import (
	"context"
	"io/fs"
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
			files, err := contextFS(filepath.Join(root, tc.dir), filepath.Join(root, tc.workspace))
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
