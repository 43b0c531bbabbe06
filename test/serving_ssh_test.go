package test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
)

// serve-git-ssh -key=FILE.pub DIR puts the address of a checkout's repository,
// ssh://git@…/repository.git, into $GIT. Who has that key may read it.
func serveGitSSH(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	flags := flag.NewFlagSet("serve-git-ssh", flag.ContinueOnError)
	key := flags.String("key", "", "")
	parse(ts, flags, args)
	if flags.NArg() != 1 || *key == "" {
		ts.Fatalf("usage: serve-git-ssh -key=file.pub dir")
	}
	text, err := os.ReadFile(ts.MkAbs(*key))
	ts.Check(err)
	allowed, _, _, _, err := ssh.ParseAuthorizedKey(text)
	ts.Check(err)
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, offered ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(offered.Marshal(), allowed.Marshal()) {
			return nil, errors.New("another key is wanted")
		}
		return nil, nil
	}}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	host, err := ssh.NewSignerFromKey(private)
	ts.Check(err)
	config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { listener.Close() })
	repository := filepath.Join(ts.MkAbs(flags.Arg(0)), ".git")
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the script is over
			}
			go uploadPack(conn, config, repository)
		}
	}()
	ts.Setenv("GIT", "ssh://git@"+listener.Addr().String()+"/repository.git")
}

// uploadPack serves one connection: whatever command it asks for, it gets
// repository to fetch from.
func uploadPack(conn net.Conn, config *ssh.ServerConfig, repository string) {
	defer conn.Close()
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return // a scan for the host's key, or the wrong key
	}
	defer server.Close()
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, asked, err := offered.Accept()
		if err != nil {
			return
		}
		for request := range asked {
			ok := request.Type == "exec"
			if err := request.Reply(ok, nil); err != nil || !ok {
				continue
			}
			git := exec.Command("git", "upload-pack", repository)
			git.Stdin, git.Stdout, git.Stderr = channel, channel, channel.Stderr()
			status := struct{ Code uint32 }{}
			if git.Run() != nil {
				status.Code = 1
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status)) // the client may be gone
			channel.Close()
		}
	}
}
