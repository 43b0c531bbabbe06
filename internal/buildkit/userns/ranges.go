package userns

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/moby/sys/user"
)

const (
	usualFirst = 100000 // what useradd gives the first user
	usualCount = 65536  // and everyone

	maxFile   = 4 << 20 // bytes of /etc/subuid that are read
	maxRanges = 64      // of one user; the kernel takes 340 in a map, and 5 before 4.15
	maxID     = 1<<32 - 2
)

// idRange is count ids from first on.
type idRange struct{ first, count int64 }

func (r idRange) overlaps(o idRange) bool {
	return r.first < o.first+o.count && o.first < r.first+r.count
}

// idMap is a map as user_namespaces(7) has it: own to 0, the ranges to the ids
// from 1.
func idMap(own int, ranges []idRange) string {
	text := fmt.Sprintf("0 %d 1\n", own)
	next := int64(1)
	for _, r := range ranges {
		text += fmt.Sprintf("%d %d %d\n", next, r.first, r.count)
		next += r.count
	}
	return text
}

// account is a user as subuid(5) may name them.
type account struct {
	uid, gid int
	name     string // "" where nothing knows one
}

// currentUser asks /etc/passwd, and $USER where that has no line: the users of
// a directory server. newuidmap asks by its own means and decides.
func currentUser() account {
	a := account{uid: os.Getuid(), gid: os.Getgid(), name: os.Getenv("USER")}
	if u, err := user.LookupUid(a.uid); err == nil && u.Name != "" {
		a.name = u.Name
	}
	return a
}

// String is how errors name the user.
func (u account) String() string {
	if u.name == "" {
		return fmt.Sprintf("user %d", u.uid)
	}
	return fmt.Sprintf("user %q (%d)", u.name, u.uid)
}

func (u account) owns(s user.SubID) bool {
	return s.Name == strconv.Itoa(u.uid) || s.Name == u.name && u.name != ""
}

// parseRanges returns the ranges whose lines owned accepts, in their order.
// Lines that the kernel would refuse to map beside the others are left out: no
// numbers, root's or none, an overlap with an earlier one or with the id own.
func parseRanges(r io.Reader, owned func(user.SubID) bool, own int64) ([]idRange, error) {
	lines, err := user.ParseSubIDFilter(io.LimitReader(r, maxFile), owned)
	if err != nil {
		return nil, err
	}
	taken := []idRange{{own, 1}}
	for _, l := range lines {
		if l.SubID <= 0 || l.Count <= 0 || l.SubID > maxID || l.Count > maxID-l.SubID+1 {
			continue
		}
		next := idRange{l.SubID, l.Count}
		free := true
		for _, t := range taken {
			free = free && !next.overlaps(t)
		}
		if free && len(taken) <= maxRanges {
			taken = append(taken, next)
		}
	}
	return taken[1:], nil
}

// firstFree returns an id above all that the lines of r give to anybody.
func firstFree(r io.Reader) int64 {
	lines, err := user.ParseSubID(io.LimitReader(r, maxFile))
	if err != nil {
		return usualFirst
	}
	first := int64(usualFirst)
	for _, l := range lines {
		if l.SubID > 0 && l.Count > 0 && l.SubID+l.Count > first && l.SubID+l.Count < maxID-usualCount {
			first = l.SubID + l.Count
		}
	}
	return first
}
