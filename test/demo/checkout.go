package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/imagewright/imagewright/test/checkout"
)

// checkout is the user's folder as it is, or a copy of the example with one
// commit, so that tag has something to read.
func (d *demo) checkout(app string) (err error) {
	if app != "" {
		if d.app, err = filepath.Abs(app); err != nil {
			return err
		}
		d.own, d.name = true, imageName(filepath.Base(d.app))
		say("application: %s", d.app)
		return nil
	}
	d.app, d.name = filepath.Join(d.work, "app"), "hello"
	say("application: examples/hello-go, copied to .demo/app with one commit")
	return d.copyExample(filepath.Join(d.root, "examples", "hello-go"))
}

func (d *demo) copyExample(from string) error {
	if err := os.RemoveAll(d.app); err != nil {
		return err
	}
	if err := os.CopyFS(d.app, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy the example: %w", err)
	}
	_, err := checkout.Commit(d.app, checkout.Options{})
	return err
}

// imageName makes a repository's name of a folder's.
func imageName(folder string) string {
	name := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(folder), "-"), "-")
	if name == "" {
		return "app"
	}
	return name
}
