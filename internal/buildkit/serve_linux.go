package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/moby/buildkit/util/grpcerrors"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // the codec BuildKit's client speaks
	"github.com/moby/buildkit/version"
	"github.com/sirupsen/logrus"
	fscopy "github.com/tonistiigi/fsutil/copy"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

const (
	// engineName is the whole argument list of the engine.
	engineName = "imagewright-buildkit-engine"

	linkFD = 3
	lockFD = 4

	setupTimeout = 10 * time.Second // for the program to say what it wants
)

// ServeIfChild must be the first thing main does. In the process that Start
// made it is the engine, and exits when it is done; in any other it returns at
// once.
//
// That process is known by its argument list and by the two descriptors it
// inherits. Who gives a program the same by hand gets an engine that can do
// what they can do anyway.
func ServeIfChild() {
	if len(os.Args) == 1 && os.Args[0] == engineName {
		os.Exit(runChild())
	}
}

func runChild() int {
	// The program gets the signals and ends this process; and nothing here may
	// die half-way because a terminal went away. Not Ignore: build steps would
	// inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	// Directories of an image get the modes they should have, whoever starts
	// this. buildkitd's main does the same.
	syscall.Umask(0)
	fscopy.UmaskIsZero = true
	l, err := inherit()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: this is a part of imagewright-build and is not started by hand: %v\n", engineName, err)
		return 2
	}
	if err := serve(l); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", engineName, err)
		return 1
	}
	return 0
}

// inherit takes over the descriptors that Start gave, and lets none of them
// reach a process of this one.
func inherit() (*link, error) {
	kind, err := unix.GetsockoptInt(linkFD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, os.NewSyscallError("descriptor 3: getsockopt", err)
	}
	if kind != unix.SOCK_SEQPACKET {
		return nil, errors.New("descriptor 3 is another kind of socket")
	}
	if _, err := unix.FcntlInt(lockFD, unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("descriptor 4: fcntl", err)
	}
	unix.CloseOnExec(linkFD)
	return openLink(os.NewFile(linkFD, "link"))
}

// serve is the engine: it returns when the program closes its end.
func serve(l *link) error {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	var s setup
	if err := l.receive(ctx, &s); err != nil {
		return fmt.Errorf("read setup: %w", err)
	}
	version.Version = moduleVersion() // else it calls itself v0.0.0 to registries
	apicaps.ExportedProduct = "buildkit"
	logrus.SetFormatter(&logrus.TextFormatter{DisableColors: true})
	if !s.Verbose {
		logrus.SetLevel(logrus.WarnLevel)
	}
	e, err := newEngine(s)
	if err != nil {
		return errors.Join(err, l.send(answer{Error: err.Error(), Hint: fault.Hint(err)}))
	}
	server := grpc.NewServer(
		// Without these BuildKit's typed errors arrive as text.
		grpc.UnaryInterceptor(grpcerrors.UnaryServerInterceptor),
		grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
	)
	e.controller.Register(server)
	if err := l.send(answer{Snapshotter: e.snapshotter}); err != nil {
		return errors.Join(err, e.close())
	}
	err = server.Serve(l)
	server.Stop()
	if errors.Is(err, io.EOF) {
		err = nil // the program is done
	}
	return errors.Join(err, e.close())
}
