package images

import (
	"archive/tar"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Busybox is an image of one static program that is a shell and some 250
// others: the smallest base in which a RUN works. It comes from the machine
// (package busybox-static).
func Busybox() (v1.Image, error) {
	program, err := findBusybox()
	if err != nil {
		return nil, err
	}
	applets, err := exec.Command(program, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the applets of %s: %w", program, err)
	}
	layer, err := layerOf(func(archive *tar.Writer) error { return addBusybox(archive, program, strings.Fields(string(applets))) })
	if err != nil {
		return nil, fmt.Errorf("make busybox image: %w", err)
	}
	return Compose(nil, []Step{{CreatedBy: "busybox-static of this machine", Layer: layer}}, func(c *v1.Config) {
		c.Env = []string{searchPath}
		c.Cmd = []string{"sh"}
	})
}

// findBusybox returns a busybox that needs no libraries; some systems come with
// another.
func findBusybox() (string, error) {
	for _, program := range []string{"/bin/busybox", "/usr/bin/busybox", "/usr/lib/initramfs-tools/bin/busybox"} {
		file, err := elf.Open(program)
		if err != nil {
			continue
		}
		libraries, err := file.ImportedLibraries()
		file.Close()
		if err == nil && len(libraries) == 0 {
			return program, nil
		}
	}
	return "", errors.New("no static busybox on this machine; run: apt-get install busybox-static")
}

func addBusybox(archive *tar.Writer, program string, applets []string) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys"} {
		if err := addDir(archive, dir, 0o755, 0); err != nil {
			return err
		}
	}
	if err := errors.Join(
		addDir(archive, "root", 0o700, 0),
		addDir(archive, "tmp", 0o1777, 0),
		addText(archive, "etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
		addText(archive, "etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n"),
		addText(archive, "bin/busybox", 0o755, string(text)),
	); err != nil {
		return err
	}
	for _, applet := range applets {
		if applet == "busybox" {
			continue
		}
		if err := addLink(archive, "bin/"+applet, "busybox"); err != nil {
			return err
		}
	}
	return nil
}
