package main

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/imagewright/imagewright/internal/record"
)

// refused is the exit code of a step whose policy says no.
const refused = 3

// gate shows what a critical finding looks like: a library with Log4Shell in it,
// added to the image that has just passed.
func (d *demo) gate(ctx context.Context) error {
	say("\nNow the same image with log4j-core 2.14.1 (Log4Shell) added to it.")
	dir := filepath.Join(d.work, "gate")
	if err := d.writeVulnerable(dir); err != nil {
		return fmt.Errorf("prepare the gate's image: %w", err)
	}
	var gate table
	for _, s := range []struct {
		name string
		args []string
		want int
		says string
	}{
		{"build", []string{"--progress=quiet", "--state-dir=" + d.stateDir()}, 0, "built"},
		{"scan", []string{"--db-repository=" + d.databaseRepository}, refused, "the finding is over the threshold"},
		{"push", []string{"--images=" + d.repository(), "--tags=vulnerable"}, refused, "no passing verdict belongs to this digest"},
	} {
		began := time.Now()
		code, err := d.program(ctx, dir, s.name, s.args)
		if err != nil {
			return err
		}
		gate.add(s.name, time.Since(began), fmt.Sprintf("exit code %d: %s", code, s.says))
		if code != s.want {
			return fmt.Errorf("imagewright-%s of the vulnerable image ended with exit code %d, want %d", s.name, code, s.want)
		}
	}
	gate.print(os.Stdout)
	return nil
}

// writeVulnerable lays out a checkout whose Dockerfile starts from the image
// that was pushed.
func (d *demo) writeVulnerable(dir string) error {
	pushed, err := record.Read[record.Push](d.workspace(), "push")
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	dockerfile := fmt.Sprintf("FROM %s@%s\nCOPY log4j-core-2.14.1.jar /lib/\n", d.repository(), pushed.Digest)
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		return err
	}
	return writeJar(filepath.Join(dir, "log4j-core-2.14.1.jar"))
}

// writeJar writes a jar with the properties by which scanners, and Maven, know
// log4j-core 2.14.1; its classes are not needed for that.
func writeJar(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	jar := zip.NewWriter(file)
	for _, entry := range []struct{ name, text string }{
		{"META-INF/MANIFEST.MF", "Manifest-Version: 1.0\nImplementation-Title: Apache Log4j Core\nImplementation-Version: 2.14.1\n"},
		{"META-INF/maven/org.apache.logging.log4j/log4j-core/pom.properties", "version=2.14.1\ngroupId=org.apache.logging.log4j\nartifactId=log4j-core\n"},
	} {
		w, err := jar.Create(entry.name)
		if err != nil {
			return errors.Join(err, file.Close())
		}
		if _, err := w.Write([]byte(entry.text)); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return errors.Join(jar.Close(), file.Close())
}
