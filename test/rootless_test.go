package test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imagewright/imagewright/internal/record"
)

// rootlessFile has what a user namespace could get wrong: owners, modes, all
// kinds of files that are removed from lower layers, a secret.
const rootlessFile = `FROM base
RUN chmod 700 /capable
RUN mkdir -p /d/sub /tmp && chmod 1777 /tmp && touch /d/a /d/b /d/sub/x && chown 1234:5678 /d/a && \
    chown -R 65534:65533 /d/sub && ln /d/a /d/hard && mkfifo /d/fifo
RUN rm /d/a && rm -rf /d/sub && mkdir /d/sub && touch /d/sub/new
RUN rm /d/sub/new && mv /d /e && chmod u+s /e/b
COPY --chown=60000:60001 text /text
COPY --link text /linked
RUN --mount=type=secret,id=token --mount=type=tmpfs,target=/t test "$(cat /run/secrets/token)" = hush
USER 1000:1000
RUN id > /tmp/id && test "$(id -u)" = 1000 && ! touch /e/new
`

// TestTheSameImageWithoutRoot builds one checkout as root and as those who may
// do less, wherever that is possible.
func TestTheSameImageWithoutRoot(t *testing.T) {
	h := newHousehold(t)
	want := ""
	for _, b := range []builder{
		{name: "root"},
		{name: "an ordinary user", owner: aliceID, rights: asAlice()},
		{
			name: "a state in memory, on a mount with fewer rights", owner: aliceID, rights: asAlice(),
			arrange: fmt.Sprintf(`mount -t tmpfs -o nosuid,nodev,noexec,mode=0700,uid=%d tmpfs "$HOME/state"`, aliceID),
		},
		{
			name: "a container that masks a part of /proc", owner: aliceID, rights: asAlice(),
			arrange: `mount -t tmpfs -o ro tmpfs /proc/sys/kernel/random`,
		},
		{
			name: "root of a container that is not privileged", rights: "--bounding-set=-sys_admin",
			arrange: `mount -t tmpfs -o ro tmpfs /proc/sys/kernel/random`,
		},
		{
			name: "root of a rootless container", owner: aliceID, rights: asAlice(),
			within: "unshare --user --map-auto --map-root-user --mount --pid --fork --kill-child --mount-proc --",
		},
	} {
		t.Run(b.name, func(t *testing.T) {
			cmd, dir := h.command(t, b, rootlessFile)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			built, err := record.Read[record.Build](filepath.Join(dir, ".imagewright"), "build")
			check(t, err)
			if want == "" {
				want = built.Image.Digest
			}
			if built.Image.Digest != want {
				t.Errorf("built %s, root %s", built.Image.Digest, want)
			}
			h.checkNothingLeft(t)
			checkOwner(t, filepath.Join(dir, ".imagewright"), b.owner)
		})
	}
}

// TestAKilledBuildWithoutRootLeavesNothing kills the program in the middle of a
// step that would go on for long.
func TestAKilledBuildWithoutRootLeavesNothing(t *testing.T) {
	h := newHousehold(t)
	cmd, _ := h.command(t, builder{owner: aliceID, rights: asAlice()}, "FROM base\nUSER 1000\nRUN echo begun; sleep 1000\n")
	said := &watchedBuffer{}
	cmd.Stderr = said
	check(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	select {
	case <-said.has("begun\n"):
	case <-ended:
		t.Fatalf("it ended before it was in the middle:\n%s", said)
	case <-time.After(endTimeout):
		t.Errorf("it never came to the middle:\n%s", said)
	}
	if len(h.left()) < 3 { // program, engine, step
		t.Errorf("only %q run in the middle: the test looks for the wrong thing", h.left())
	}
	check(t, cmd.Process.Kill())
	<-ended
	h.checkNothingLeft(t)
}

// TestWithoutSubordinateIDsTheErrorNamesTheFix takes alice's lines away.
func TestWithoutSubordinateIDsTheErrorNamesTheFix(t *testing.T) {
	h := newHousehold(t)
	h.write(t, "etc/subuid", "bob:100000:65536\n")
	h.write(t, "etc/subgid", "")
	cmd, dir := h.command(t, builder{owner: aliceID, rights: asAlice()}, rootlessFile)
	out, _ := cmd.CombinedOutput() // the code is looked at
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit code %d, want 2:\n%s", code, out)
	}
	words := strings.Join(strings.Fields(string(out)), " ") // a table breaks its lines
	for _, want := range []string{
		`no usable line for user "alice" (43210) in /etc/subuid and /etc/subgid`,
		"usermod --add-subuids 165536-231071 --add-subgids 100000-165535 alice",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not in its words:\n%s", want, out)
		}
	}
	if _, err := record.Read[record.Build](filepath.Join(dir, ".imagewright"), "build"); err == nil {
		t.Error("it recorded an image")
	}
	h.checkNothingLeft(t)
}

// checkOwner holds every file of the result to belong to who built it.
func checkOwner(t *testing.T, dir string, owner int) {
	t.Helper()
	out, err := exec.Command("find", dir, "!", "-uid", strconv.Itoa(owner)).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("files of somebody else: %v\n%s", err, out)
	}
}
