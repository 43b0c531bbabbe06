// Command demo takes an application through the whole pipeline, for real, on a
// machine without Docker: build, scan, tag, push, prune, and a run of what was
// pushed. `make demo` runs it.
//
// All it makes is in .demo of this repository (and in .imagewright of the
// application, if one is given).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

func main() {
	// What is started here dies with this thread (Pdeathsig), so it is to be the
	// one that lives as long as the process.
	runtime.LockOSThread()
	app := flag.String("app", "", "the application's checkout; the example of this repository if empty")
	databaseRepository := flag.String("db-repository", "", "the vulnerability database; a small one made here if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *app, *databaseRepository)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, app, databaseRepository string) (err error) {
	if os.Geteuid() != 0 {
		return fmt.Errorf("it builds with runc and debootstrap, which need root; run: sudo make demo")
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "examples", "hello-go")); err != nil {
		return fmt.Errorf("it runs in the root of the repository: %w", err)
	}
	d, err := prepare(ctx, root, app, databaseRepository)
	if err != nil {
		return err
	}
	defer func() { err = d.close(err) }()
	return d.pipeline(ctx)
}
