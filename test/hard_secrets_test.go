package test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// reads is a step that has a secret as a file, in its environment and as a key.
const reads = `FROM base AS made
RUN --mount=type=secret,id=token --mount=type=secret,id=token,env=TOKEN --mount=type=ssh \
    test "$TOKEN" = "$(cat /run/secrets/token)" && test -S "$SSH_AUTH_SOCK" && echo "$TOKEN" && echo begun && %s
FROM base
COPY --from=made /made /made
`

// However a build with secrets ends, none of them is in a file that is left: not
// in the builder's state, packed or not, not in its log, not in a cache, the
// image, the record or a report.
func TestNoEndOfABuildLeavesASecretBehind(t *testing.T) {
	w := newBuildWorld(t, map[string]string{
		"ends.Dockerfile":  fmt.Sprintf(reads, "echo made > /made"),
		"stays.Dockerfile": fmt.Sprintf(reads, "sleep 1000"),
		"fails.Dockerfile": fmt.Sprintf(reads, "exit 5"),
	})
	program := func(r *run) int { return r.cmd.Process.Pid }
	for _, tc := range []struct {
		name, file string
		signal     syscall.Signal
		whom       func(*run) int
		args       []string
	}{
		{name: "it is built with caches and statements of every kind", file: "ends", args: []string{
			"--cache-to=type=local,dest=CACHE,mode=max", "--cache-to=type=registry,ref=REGISTRY/cache:1,mode=max", "--cache-to=type=inline",
			"--provenance=mode=max", "--log-level=debug",
		}},
		{name: "a step fails", file: "fails", args: []string{"--log-level=debug"}},
		{name: "the program is asked to end", file: "stays", signal: syscall.SIGTERM, whom: program},
		{name: "the program is killed", file: "stays", signal: syscall.SIGKILL, whom: program},
		{name: "the engine is killed", file: "stays", signal: syscall.SIGKILL, whom: engineOf},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := w.copied(t)
			token, key := "canary"+rand.Text(), sshKeyFile(t)
			args := []string{"--file=" + tc.file + ".Dockerfile", "--secret-envs=token=TOKEN", "--ssh=default=" + key}
			for _, arg := range tc.args {
				args = append(args, strings.ReplaceAll(arg, "CACHE", filepath.Join(s.own, "cache")))
			}
			cmd := s.command("build", args...)
			cmd.Env = append(cmd.Env, "TOKEN="+token)
			run := s.begin("build", cmd)
			if tc.whom != nil {
				s.awaits(run, "begun\n")
				s.checkHasNone(t, token, key) // nor while the step runs
				check(t, syscall.Kill(tc.whom(run), tc.signal))
			}
			run.await(t)
			if got := run.cmd.ProcessState.ExitCode(); tc.file == "ends" && got != 0 {
				t.Fatalf("exit %d:\n%s", got, run.stderr)
			}
			if said := run.stderr.String(); !strings.Contains(said, "***\n") || strings.Contains(said, token) {
				t.Errorf("the log does not show the step's output, or shows the secret:\n%s", said)
			}
			checkUnused(t, filepath.Join(s.own, "state"))
			s.checkHasNone(t, token, key)
		})
	}
}

// checkHasNone looks into every file that the scene and its registry have.
func (s *scene) checkHasNone(t *testing.T, token, keyFile string) {
	t.Helper()
	key, err := os.ReadFile(keyFile)
	check(t, err)
	lines := bytes.Split(key, []byte("\n"))
	wanted := append(lines[1:len(lines)-2], []byte(token), []byte(base64.StdEncoding.EncodeToString([]byte(token))[:24]))
	looked := 0
	for _, dir := range []string{s.own, s.dir, s.world.stored} {
		check(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return nil // it goes while we look
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			looked++
			for _, secret := range wanted {
				if bytes.Contains(text, secret) || bytes.Contains([]byte(unpacked(string(text))), secret) {
					t.Errorf("%s holds a secret", path)
				}
			}
			return nil
		}))
	}
	if looked < 20 {
		t.Errorf("only %d files were found: the test looks at the wrong thing", looked)
	}
}
