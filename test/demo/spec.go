package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// writeSpec writes config.json of the bundle: the image's own command, user and
// environment, no capabilities, and namespaces of its own.
func (c *container) writeSpec() error {
	uid, gid, err := lookUpUser(c.rootfs(), c.config.User)
	if err != nil {
		return err
	}
	args := slices.Concat(c.config.Entrypoint, c.config.Cmd)
	if len(args) == 0 {
		return fmt.Errorf("the image has neither ENTRYPOINT nor CMD")
	}
	tmpfs := []string{"nosuid", "noexec", "nodev"}
	spec := specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: args, Env: c.config.Env, Cwd: cmp.Or(c.config.WorkingDir, "/"),
			User: specs.User{UID: uid, GID: gid}, NoNewPrivileges: true,
		},
		Hostname: "demo",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: tmpfs},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: append(tmpfs, "mode=1777", "size=65536k")},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
			},
			MaskedPaths: []string{"/proc/kcore", "/proc/keys", "/proc/sysrq-trigger"},
		},
	}
	text, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "config.json"), text, 0o600)
}

// lookUpUser reads USER: numbers, or names of the image's own /etc/passwd.
func lookUpUser(rootfs, user string) (uid, gid uint32, err error) {
	if user == "" {
		return 0, 0, nil
	}
	name, group, hasGroup := strings.Cut(user, ":")
	uid, gid, err = findID(filepath.Join(rootfs, "etc", "passwd"), name)
	if err == nil && hasGroup {
		gid, _, err = findID(filepath.Join(rootfs, "etc", "group"), group)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("USER %s: %w", user, err)
	}
	return uid, gid, nil
}

// findID returns the third and fourth field of the line for name, itself a
// number or the first field; a number need not be in the file.
func findID(file, name string) (id, group uint32, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		text = nil
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 4 || (fields[0] != name && fields[2] != name) {
			continue
		}
		number, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", file, err)
		}
		// Field four is a group's number in passwd, and its members in group.
		members, _ := strconv.ParseUint(fields[3], 10, 32)
		return uint32(number), uint32(members), nil
	}
	number, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("no %q in the image's %s", name, filepath.Base(file))
	}
	return uint32(number), 0, nil
}
