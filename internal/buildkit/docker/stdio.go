package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// stdioName is the first argument of this program where it connects its
	// input and output with a builder's socket.
	stdioName = "dial-stdio"

	socketTimeout = 15 * time.Second // for a builder that is starting to listen
	socketPoll    = 20 * time.Millisecond
)

// StdioIfAsked belongs at the start of main. Where the arguments are dial-stdio
// and the unix:// address of a builder, as [Engine.Privileged] has its container
// run it, it connects standard input and output with that builder and exits at
// the end; otherwise it returns at once.
func StdioIfAsked() {
	if len(os.Args) != 3 || os.Args[1] != stdioName {
		return
	}
	if err := Stdio(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", stdioName, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Stdio copies in to the socket at address, unix:///PATH, and what comes back to
// out. It waits for the socket while its builder is starting. The end of in ends
// the builder's input; Stdio returns when the builder has closed its side, or
// out can take no more.
func Stdio(ctx context.Context, address string, in io.Reader, out io.Writer) error {
	path, ok := strings.CutPrefix(address, "unix://")
	if !ok || path == "" {
		return fmt.Errorf("%.100q is no unix:///PATH", address)
	}
	conn, err := await(ctx, path)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go func() {
		// Whatever ends the input, the builder has to hear of it.
		_, _ = io.Copy(conn, in)
		_ = conn.CloseWrite()
	}()
	_, err = io.Copy(out, conn)
	return err
}

// await connects with the socket at path, once there is one that is listened to.
func await(ctx context.Context, path string) (*net.UnixConn, error) {
	ctx, cancel := context.WithTimeout(ctx, socketTimeout)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no builder listens within %s: %w", socketTimeout, err)
		case <-time.After(socketPoll):
		}
	}
}
