package build

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/imagewright/imagewright/internal/fault"
)

// sshKey writes a new private key and returns its path.
func sshKey(t *testing.T, passphrase string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sshAgent runs an agent without keys and returns its socket.
func sshAgent(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = agent.ServeAgent(agent.NewKeyring(), conn) // it ends with the connection
				conn.Close()
			}()
		}
	}()
	return path
}

func TestSSHAgentsAndKeys(t *testing.T) {
	socket, one, two := sshAgent(t), sshKey(t, ""), sshKey(t, "")
	from := secretSources{
		getenv: func(name string) string { return map[string]string{"SSH_AUTH_SOCK": socket}[name] },
		abs:    func(path string) string { return path },
	}
	for _, records := range [][]string{{"default"}, {"default", "keys=" + one + "," + two}, {"other=" + socket}} {
		if forward, err := sshForward(records, from); err != nil || forward == nil {
			t.Errorf("%q: %v, %v; want something to forward to", records, forward, err)
		}
	}
	if forward, err := sshForward(nil, from); err != nil || forward != nil {
		t.Errorf("without any: %v, %v", forward, err)
	}
}

func TestBadSSHEntriesAreFoundBeforeTheBuild(t *testing.T) {
	stale := filepath.Join(t.TempDir(), "stale")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	socket, key := sshAgent(t), sshKey(t, "")
	for _, tc := range []struct{ records, want string }{
		{"default", "SSH_AUTH_SOCK, which is not set"},
		{"default=/nowhere", "there is no socket and no key at /nowhere"},
		{"default=" + stale, "no agent answers at"},
		{"default=/dev", "neither a socket nor a key"},
		{"default=" + sshKey(t, "s3cr3t"), "default: ssh: this private key is passphrase protected"},
		{"default=" + socket + "," + key, "give one socket, or keys"},
		{"a=" + key + ";a=" + key, "entry 2: a is given twice"},
		{"-----BEGIN s3cr3t", "it is not ID or ID=PATH"},
		{"default=-----BEGIN KEY-----\ns3cr3t", "an entry is not a path"},
	} {
		_, err := sshForward(strings.Split(tc.records, ";"), secretSources{
			getenv: func(string) string { return "" },
			abs:    func(path string) string { return path },
		})
		if fault.Code(err) != fault.ExitUsage {
			t.Errorf("%s: error %v, want a usage error", tc.records, err)
			continue
		}
		if text := err.Error() + fault.Hint(err); !strings.Contains(text, tc.want) || strings.Contains(text, "s3cr3t") {
			t.Errorf("%s: error %q, want one that says %q", tc.records, text, tc.want)
		}
	}
}

func fingerprint(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(signer.PublicKey())
}

// printKeys prints the keys of the agent of SSH_AUTH_SOCK, each after it signed
// something.
func printKeys(t *testing.T) {
	conn, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := agent.NewClient(conn)
	keys, err := client.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		signature, err := client.Sign(key, []byte("text"))
		if err == nil {
			err = key.Verify([]byte("text"), signature)
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("key", ssh.FingerprintSHA256(key))
	}
}
