package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/imagewright/imagewright/internal/buildkit/userns"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/moby/buildkit/util/grpcerrors"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // the codec BuildKit's client speaks
	"github.com/moby/buildkit/version"
	"github.com/sirupsen/logrus"
	fscopy "github.com/tonistiigi/fsutil/copy"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
)

const (
	// engineName is the whole argument list of the engine.
	engineName = "imagewright-buildkit-engine"

	linkFD = 3
	lockFD = 4

	setupTimeout = 10 * time.Second // for a program to say what it wants
)

// ServeIfChild must be the first thing main does. In a process that Start made,
// the engine say, it does that process's work and exits; in any other it returns
// at once.
//
// The engine is known by its argument list and by the two descriptors it
// inherits. Who gives a program the same by hand gets an engine that can do
// what they can do anyway.
func ServeIfChild() {
	userns.Enter()
	switch {
	case len(os.Args) == 1 && os.Args[0] == engineName:
		os.Exit(runChild())
	case len(os.Args) == 3 && os.Args[1] == brokerName:
		os.Exit(runBroker(os.Args[2]))
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

// serve is the engine: it returns when the last program has closed its end.
func serve(l *link) error {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	var s setup
	files, err := l.receive(ctx, &s)
	if err != nil {
		return fmt.Errorf("read setup: %w", err)
	}
	introduce(s.Verbose)
	e, door, err := s.begin(files)
	if err != nil {
		return errors.Join(err, l.send(answer{Error: err.Error(), Hint: fault.Hint(err), Full: errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)}))
	}
	server := newServer()
	e.controller.Register(server)
	h := newLobby(s, answer{Snapshotter: e.snapshotter}, door)
	go h.attend(h.enter(l, s.Program))
	go h.open()
	go sweepPrivate(s)
	err = server.Serve(h)
	if errors.Is(err, io.EOF) {
		err = nil // the last program is done
	}
	hurry := time.AfterFunc(stopTimeout, func() {
		fmt.Fprintf(os.Stderr, "%s: did not stop within %s\n", engineName, stopTimeout)
		os.Exit(1) // and with process 1 all of its namespace
	})
	server.Stop()
	err = errors.Join(err, e.close())
	hurry.Stop()
	if s.Private {
		err = errors.Join(err, removePrivate(s.Root))
	}
	h.farewell(err)
	return err
}

// begin makes the engine. Programs that want to join may knock before it is
// ready; they are heard when it is.
func (s *setup) begin(files []*os.File) (*engine, net.Listener, error) {
	defer closeAll(files)
	var door net.Listener
	if !s.Private {
		before := unix.Umask(0o177) // nothing else makes files yet
		l, err := listenSocket(".", socketName)
		unix.Umask(before)
		if err != nil {
			return nil, nil, fault.Failed(fmt.Errorf("listen in %s: %w", s.Root, err), stateHint(s.Root))
		}
		door = l
	}
	if err := emptyTemp(s.Temp); err != nil {
		return nil, nil, err
	}
	if err := s.unpackCertificates(files); err != nil {
		return nil, nil, err
	}
	e, err := newEngine(*s)
	return e, door, err
}

// emptyTemp makes the engine's directory for temporary files, without what a
// killed one left there. The state is locked, so nobody uses it.
func emptyTemp(temp string) error {
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	return os.Mkdir(temp, 0o700)
}

// introduce sets what BuildKit has one of in a process: its name and its log.
func introduce(verbose bool) {
	version.Version = moduleVersion() // else it calls itself v0.0.0 to registries
	apicaps.ExportedProduct = "buildkit"
	logrus.SetFormatter(&logrus.TextFormatter{DisableColors: true})
	logrus.SetOutput(boundedLog{os.Stderr})
	if !verbose {
		logrus.SetLevel(logrus.WarnLevel)
	}
}

func newServer() *grpc.Server {
	server := grpc.NewServer(
		// Without these BuildKit's typed errors arrive as text.
		grpc.UnaryInterceptor(grpcerrors.UnaryServerInterceptor),
		grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
	)
	// What clients of buildkitd may ask as well.
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	return server
}
