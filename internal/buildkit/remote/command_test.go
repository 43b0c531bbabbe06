package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imagewright/imagewright/test/buildkitd"
)

// TestDialsThroughSSH goes through a real ssh client and a real sshd.
func TestDialsThroughSSH(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "buildkitd.sock")
	buildkitd.Start(t, buildkitd.Options{Addr: "unix://" + socket})
	environ := startSSHD(t)

	mustAnswer(t, "ssh://builder"+socket, Options{Environ: environ})

	for _, tc := range []struct {
		name, address, want string
	}{
		{"no BuildKit there", "ssh://builder/run/nowhere.sock", "no such file or directory"},
		{"a key that the server does not know", "ssh://stranger" + socket, "Permission denied"},
		{"a server that we do not know", "ssh://unknown" + socket, "Host key verification failed"},
		{"closed port", "ssh://builder:1" + socket, "Connection refused"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			begun := time.Now()
			_, err := dial(t, tc.address, Options{Environ: environ})
			checkUnreachable(t, err, tc.address, "BatchMode=yes")
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %q; want %q in it", err, tc.want)
			}
			if took := time.Since(begun); took >= patience {
				t.Errorf("it was tried for %v, though it can get no better", took)
			}
		})
	}
}

// TestDialsThroughKubectl has a script in kubectl's place, for there is no
// cluster here: it shows that the arguments are those that kubectl takes, and
// that a connection runs over its standard input and output. What a kubelet
// makes of the stream is not shown.
func TestDialsThroughKubectl(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "buildkitd.sock")
	buildkitd.Start(t, buildkitd.Options{Addr: "unix://" + socket})
	bin := t.TempDir()
	seen := filepath.Join(bin, "environ")
	script(t, filepath.Join(bin, "kubectl"), `
env > `+seen+`
if test "$*" != "--context=me@cluster --namespace=ci exec -i --container=buildkitd buildkitd-0 -- buildctl dial-stdio"; then
	echo "Error from server (NotFound): pods \"$5\" not found" >&2
	exit 1
fi
exec `+buildkitd.Tool(t, "buildctl")+` --addr unix://`+socket+` dial-stdio`)
	environ := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "KUBECONFIG=/kube", "IMAGEWRIGHT_BUILD_PASSWORD=hunter2", "INPUT_SECRETS=hunter2"}

	mustAnswer(t, "kube-pod://buildkitd-0?namespace=ci&container=buildkitd&context=me%40cluster", Options{Environ: environ})
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hunter2") || !strings.Contains(string(text), "KUBECONFIG=/kube") {
		t.Errorf("kubectl's environment must be ours without the inputs of steps; it is\n%s", text)
	}

	_, err = dial(t, "kube-pod://other", Options{Environ: environ})
	checkUnreachable(t, err, "kube-pod://other", "kubectl exec -i other")
	if !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("the error is %q; kubectl's words are missing", err)
	}
}

func TestAProgramThatIsNotThereIsNamed(t *testing.T) {
	t.Chdir(t.TempDir()) // a checkout that brings its own
	script(t, "ssh", "exit 0")
	script(t, "kubectl", "exit 0")
	for address, program := range map[string]string{"ssh://builder": "ssh", "kube-pod://pod": "kubectl"} {
		_, err := dial(t, address, Options{Environ: []string{"PATH=.:" + t.TempDir()}})
		checkUnreachable(t, err, address, "install")
		if !strings.Contains(err.Error(), "needs "+program+" on PATH") {
			t.Errorf("%s: the error is %q", address, err)
		}
	}
}

func TestClosingEndsACommandThatDoesNotWantTo(t *testing.T) {
	bin := t.TempDir()
	pids := filepath.Join(bin, "pids")
	script(t, filepath.Join(bin, "ssh"), `
trap '' TERM
echo $$ > `+pids+`
sleep 1000 &
echo $! >> `+pids+`
wait`)
	begun := time.Now()
	_, err := dial(t, "ssh://builder", Options{Environ: []string{"PATH=" + bin + ":" + os.Getenv("PATH")}, Patience: time.Second})
	checkUnreachable(t, err, "ssh://builder", "")
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		t.Fatalf("the script wrote %q, want two process ids", text)
	}
	for _, field := range fields {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		for begun := time.Now(); syscall.Kill(pid, 0) == nil && !isZombie(pid); time.Sleep(10 * time.Millisecond) {
			if time.Since(begun) > 30*time.Second {
				t.Fatalf("process %d is still there", pid)
			}
		}
	}
}

func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}
