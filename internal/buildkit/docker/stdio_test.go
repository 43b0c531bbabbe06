package docker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestStdioCarriesBothWaysAndEndsWithTheBuilder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "builder.sock")
	in, send := io.Pipe()
	var out bytes.Buffer
	done := make(chan error, 1)
	// The builder does not listen yet: it is waited for.
	go func() { done <- Stdio(t.Context(), "unix://"+path, in, &out) }()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(send, "to the builder"); err != nil {
		t.Fatal(err)
	}
	send.Close()
	got, err := io.ReadAll(conn) // the end of the input is passed on
	if err != nil || string(got) != "to the builder" {
		t.Errorf("the builder read %q, %v", got, err)
	}
	if _, err := io.WriteString(conn, "and back"); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := <-done; err != nil || out.String() != "and back" {
		t.Errorf("Stdio() = %v after %q; want nil after what the builder wrote", err, &out)
	}
}

func TestStdioEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	path := filepath.Join(t.TempDir(), "builder.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in, send := io.Pipe()
	defer send.Close()
	done := make(chan error, 1)
	go func() { done <- Stdio(ctx, "unix://"+path, in, io.Discard) }()
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("Stdio() = nil; want an error")
	}
	if err := Stdio(ctx, "unix://"+path+".none", in, io.Discard); !errors.Is(err, context.Canceled) && (err == nil || !strings.Contains(err.Error(), "no builder")) {
		t.Errorf("Stdio() of no socket = %v", err)
	}
	if err := Stdio(t.Context(), "tcp://127.0.0.1:1", in, io.Discard); err == nil {
		t.Error("an address that is no socket's was taken")
	}
}
