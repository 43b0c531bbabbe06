package remote

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/imagewright/imagewright/test/buildkitd"
)

// startSSHD runs a real sshd on loopback. It returns an environment whose ssh
// knows it by three names: builder; stranger, with a key that the server does
// not know; unknown, with no idea of the server's own key.
func startSSHD(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	host, hostPublic := sshKey(t)
	mine, minePublic := sshKey(t)
	stranger, _ := sshKey(t)
	port := freePort(t)
	runSSHD(t, port, write("log", ""), write("sshd_config", strings.Join([]string{
		"ListenAddress 127.0.0.1:" + port,
		"HostKey " + write("host", host),
		"AuthorizedKeysFile " + write("authorized", minePublic),
		"PidFile none", "UsePAM no", "StrictModes no", "PasswordAuthentication no", "PermitRootLogin prohibit-password",
		"SetEnv PATH=" + filepath.Dir(buildkitd.Tool(t, "buildctl")) + ":/usr/bin:/bin",
	}, "\n")+"\n"))

	config := write("ssh_config", strings.Join([]string{
		"Host builder stranger",
		"UserKnownHostsFile " + write("known_hosts", "[127.0.0.1]:"+port+" "+hostPublic),
		"Host builder unknown",
		"IdentityFile " + write("mine", mine),
		"Host stranger",
		"IdentityFile " + write("stranger", stranger),
		"Host unknown",
		"UserKnownHostsFile /dev/null",
		"Host *",
		"HostName 127.0.0.1", "Port " + port,
		"GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes", "IdentitiesOnly yes",
	}, "\n")+"\n")
	// The real ssh takes the user's home from the system, whatever HOME says: only
	// -F keeps it from the machine's configuration.
	real, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatalf("%v: install openssh-client", err)
	}
	bin := t.TempDir()
	script(t, filepath.Join(bin, "ssh"), "exec "+real+" -F "+config+` "$@"`)
	return []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir}
}

// runSSHD runs sshd until the test ends.
func runSSHD(t *testing.T, port, logFile, config string) {
	t.Helper()
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	// sshd wants its full path, and /run/sshd, which a service manager makes: a
	// mount namespace of its own keeps that from the machine.
	cmd := exec.Command("/bin/sh", "-c", `mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd && exec /usr/sbin/sshd -D -e -f "$0"`, config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // Pdeathsig is about this thread
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it is gone
		<-exited
	})
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-exited:
			err = errors.Join(err, errors.New("it has ended; is openssh-server installed?"))
		default:
			if time.Since(begun) < 30*time.Second {
				continue
			}
		}
		said, _ := os.ReadFile(log.Name())
		t.Fatalf("sshd does not answer: %v; it said:\n%s", err, said)
	}
}

// freePort returns a port that nobody listened on a moment ago: sshd takes none
// of the kernel's choice.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// sshKey makes a key pair as ssh writes it in files.
func sshKey(t *testing.T) (private, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(sshPublic))
}
