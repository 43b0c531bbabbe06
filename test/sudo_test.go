package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/record"
)

// Who may use sudo without a password, as on GitHub's hosted runners, builds with
// root's rights and has the result for their own.
func TestUnderSudoTheSameImageIsTheUsers(t *testing.T) {
	h := newHousehold(t)
	// No password file of the machine knows alice: she has none.
	h.write(t, "etc/passwd", fmt.Sprintf("root:x:0:0::/root:/bin/sh\nalice:*:%d:%d::/:/bin/sh\n", aliceID, aliceID))
	h.write(t, "etc/sudoers", "alice ALL=(ALL) NOPASSWD: ALL\n")
	digests := map[string]string{}
	for _, b := range []builder{
		{name: "root"},
		{name: "sudo", owner: aliceID, rights: asAlice(), arrange: `mount --bind "$0/sudoers" /etc/sudoers`},
	} {
		cmd, dir := h.command(t, b, rootlessFile)
		cmd.Env = append(cmd.Env, "IMAGEWRIGHT_BUILD_STATE_DIR="+filepath.Join(h.dir, "state-"+b.name))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("as %s: %v\n%s", b.name, err, out)
		}
		if where := "embedded (" + b.name + ")"; !strings.Contains(string(out), where) {
			t.Errorf("as %s: the log has no %q:\n%s", b.name, where, out)
		}
		built, err := record.Read[record.Build](filepath.Join(dir, ".imagewright"), "build")
		check(t, err)
		digests[b.name] = built.Image.Digest
		h.checkNothingLeft(t)
		checkOwner(t, filepath.Join(dir, ".imagewright"), b.owner)
	}
	if digests["root"] != digests["sudo"] {
		t.Errorf("root builds %s, sudo %s", digests["root"], digests["sudo"])
	}
}
