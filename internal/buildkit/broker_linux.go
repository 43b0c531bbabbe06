package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/imagewright/imagewright/internal/fault"
)

// runBroker is the broker: it meets the program in directory dir, acquires an
// engine for it, hands the link over and is done. The engine is a session of its
// own by then.
func runBroker(dir string) int {
	// sudo passes signals of the terminal on; but it is the program that decides.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	l, err := dialSocket(dir, brokerSocket)
	if err != nil || os.Geteuid() != 0 {
		fmt.Fprintf(os.Stderr, "%s: this is a part of imagewright-build and is not started by hand: %v\n", brokerName, err)
		return 2
	}
	defer l.Close()
	if err := broke(l); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", brokerName, err)
		return 1
	}
	return 0
}

func broke(l *link) error {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	var r request
	files, err := l.receive(ctx, &r)
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	w := wish{setup: r.Setup, env: r.Env}
	err = w.takeCertificates(files)
	closeAll(files)
	if err != nil {
		return err
	}
	h, err := acquireAsRoot(whileHeard(l), w, func(holder string) { l.send(report{Waiting: holder}) })
	if err != nil {
		bad := report{Error: err.Error(), Hint: fault.Hint(err)}
		_, bad.Unfit = errors.AsType[*unfit](err)
		if d, ok := errors.AsType[*deathbed](err); ok {
			bad.Words = d.words
		}
		return l.send(bad)
	}
	defer h.drop() // the program has its own
	return l.send(report{Answer: h.answer, Root: h.root, Fresh: h.fresh, PID: h.pid}, h.link.conn, h.log.file)
}

func acquireAsRoot(ctx context.Context, w wish, tell func(holder string)) (*hold, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	return acquire(ctx, w, tell)
}

// whileHeard is a context that ends when the program hangs up: it says nothing
// more after its request.
func whileHeard(l *link) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		l.read(make([]byte, 1))
	}()
	return ctx
}
