package userns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

const (
	subuidFile = "/etc/subuid"
	subgidFile = "/etc/subgid"

	packageHint = "install newuidmap: apt-get install uidmap on Debian and Ubuntu, apk add shadow-uidmap on Alpine, dnf install shadow-utils on Fedora"
)

// mapIDs makes the caller root of pid's user namespace, with the ids that
// subuid(5) and subgid(5) give them.
func mapIDs(ctx context.Context, pid int) error {
	if os.Geteuid() == 0 {
		return errors.Join(keepIDs(pid, "uid_map"), keepIDs(pid, "gid_map"))
	}
	who := currentUser()
	uids, err := who.ranges(subuidFile)
	if err != nil {
		return err
	}
	gids, err := who.ranges(subgidFile)
	if err != nil {
		return err
	}
	if err := who.lacks(uids, gids); err != nil {
		return err
	}
	if err := who.run(ctx, "newuidmap", pid, os.Getuid(), uids); err != nil {
		return err
	}
	return who.run(ctx, "newgidmap", pid, os.Getgid(), gids)
}

// keepIDs has root of this namespace, which needs no tool, map its ids to
// themselves in that of pid.
func keepIDs(pid int, file string) error {
	own, err := user.ParseIDMapFile("/proc/self/" + file)
	if err != nil {
		return err
	}
	var rest []idRange // in two lines even where one would do: that is what tells programs from the system's own map
	for _, m := range own {
		if first := max(m.ID, 1); first < m.ID+m.Count {
			rest = append(rest, idRange{first, m.ID + m.Count - first})
		}
	}
	err = os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, file), []byte(idMap(0, rest)), 0)
	if errors.Is(err, unix.EPERM) {
		return fault.Failed(err, "give the container the capabilities SETUID, SETGID and SETFCAP")
	}
	return err
}

// run has tool, which is privileged, map own to 0 and ranges to the ids from 1.
// It checks that the ranges are the user's.
func (u account) run(ctx context.Context, tool string, pid, own int, ranges []idRange) error {
	path, err := exec.LookPath(tool)
	if err != nil {
		return fault.Failed(fmt.Errorf("%w: %w", ErrNoMapper, err), packageHint)
	}
	args := append([]string{strconv.Itoa(pid)}, strings.Fields(idMap(own, ranges))...)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", tool, context.Cause(ctx))
	}
	said := string(bytes.TrimSpace(out[:min(len(out), maxMessage)]))
	said = strings.TrimPrefix(ci.Printable(said), tool+": ")
	return u.unmapped(path, fmt.Errorf("%s: %s (%w)", tool, said, err))
}

// unmapped says why the tool at path failed, as err.
func (u account) unmapped(path string, err error) error {
	status := observe().status
	switch {
	case status["NoNewPrivs"] == "1":
		return fault.Failed(fmt.Errorf("%w, so that %w", ErrNoNewPrivs, err),
			"start the container without --security-opt no-new-privileges; in Kubernetes set allowPrivilegeEscalation: true")
	case !privileged(path):
		return fault.Failed(fmt.Errorf("%w: %s has neither the set-user-ID bit nor a capability, or lies on a nosuid mount: %w", ErrNoMapper, path, err),
			"as root: chmod u+s "+path+", or install its package anew")
	case u.name == "":
		return fault.Failed(err, fmt.Sprintf("user %d has no name: give it a line in /etc/passwd", u.uid))
	}
	return fault.Failed(err, "see that the ranges in "+subuidFile+" and "+subgidFile+
		" are the user's, overlap nothing, and are among the ids of this container (/proc/self/uid_map)")
}

// privileged reports whether the file at path gains privilege when executed.
func privileged(path string) bool {
	var at unix.Statfs_t
	if unix.Statfs(path, &at) == nil && at.Flags&unix.ST_NOSUID != 0 {
		return false
	}
	if size, err := unix.Getxattr(path, "security.capability", nil); err == nil && size > 0 {
		return true
	}
	fi, err := os.Stat(path)
	return err == nil && fi.Mode()&os.ModeSetuid != 0
}

// lacks returns an error when there are no ids for either.
func (u account) lacks(uids, gids []idRange) error {
	var files, flags []string
	for _, need := range []struct {
		has        []idRange
		file, flag string
	}{{uids, subuidFile, "--add-subuids"}, {gids, subgidFile, "--add-subgids"}} {
		if len(need.has) == 0 {
			first := freeRange(need.file)
			files = append(files, need.file)
			flags = append(flags, fmt.Sprintf("%s %d-%d", need.flag, first, first+usualCount-1))
		}
	}
	if files == nil {
		return nil
	}
	err := fmt.Errorf("%w: no usable line for %s in %s", ErrNoRange, u, strings.Join(files, " and "))
	if u.name == "" {
		return fault.Failed(err, fmt.Sprintf("give user %d a name in /etc/passwd, and a line NAME:100000:65536 in %s",
			u.uid, strings.Join(files, " and ")))
	}
	return fault.Failed(err, "as root: usermod "+strings.Join(flags, " ")+" "+ci.Printable(u.name))
}

// ranges returns what the file gives the user; a file that is missing gives
// nothing.
func (u account) ranges(path string) ([]idRange, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRange, err)
	}
	defer f.Close()
	own := u.uid
	if path == subgidFile {
		own = u.gid
	}
	found, err := parseRanges(f, u.owns, int64(own))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return found, nil
}

// freeRange returns the first id of a range after all that the file gives.
func freeRange(path string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return usualFirst
	}
	defer f.Close()
	return firstFree(f)
}
