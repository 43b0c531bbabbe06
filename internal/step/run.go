package step

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/input"
)

// version is set by the linker (see the Makefile).
var version = "dev"

// Version is the program's version, made from git when it was built.
func Version() string { return version }

// stopped is the cause of a context that a signal ended.
type stopped struct{ signal syscall.Signal }

// Error implements error.
func (s *stopped) Error() string { return "stopped by " + s.signal.String() }

// Main runs s and exits. A second signal ends the process at once.
func Main(s Step) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		sig := <-signals
		signal.Stop(signals)
		cancel(&stopped{sig.(syscall.Signal)})
	}()
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(fault.ExitFailed)
	}
	os.Exit(Run(ctx, s, Process{os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr, dir}))
}

// Run runs s in process p and returns the exit code: 0 done, 1 something
// failed, 2 bad usage or input, 3 the policy said no, 130 and 143 for SIGINT
// and SIGTERM.
func Run(ctx context.Context, s Step, p Process) int {
	d := s.Declaration()
	if asksFor(p.Args, "--help", "-h") {
		if err := writeHelp(p.Stdout, s); err != nil {
			fmt.Fprintln(p.Stderr, err)
			return fault.ExitFailed
		}
		return 0
	}
	if asksFor(p.Args, "--version") {
		fmt.Fprintf(p.Stdout, "imagewright-%s %s\n", d.Name, version)
		return 0
	}
	mask := &masker{}
	stdout, stderr := mask.writer(p.Stdout), mask.writer(p.Stderr)
	defer stdout.flush()
	defer stderr.flush()
	p.Stdout, p.Stderr = stdout, stderr
	job := &Job{Process: p, mask: mask, hidden: stderr.to}
	err := prepare(s, job)
	if err == nil {
		err = job.run(ctx, s)
	}
	return job.finish(ctx, d, err)
}

// asksFor tells whether a flag before "--" is one of names.
func asksFor(args []string, names ...string) bool {
	for _, arg := range args {
		if arg == "--" {
			return false
		}
		if slices.Contains(names, arg) {
			return true
		}
	}
	return false
}

// prepare fills s's inputs and all of job. The secrets are masked before
// anything is logged, also where it returns an error.
func prepare(s Step, job *Job) error {
	d, target := s.Declaration(), s.Inputs()
	job.CI, job.emitter = ci.Detect(job.Getenv, job.Stderr, job.hidden)
	job.Log = newLogger(job.Stderr, "info")
	holder, ok := target.(interface{ common() *Common })
	if !ok {
		return fmt.Errorf("step %s: its inputs do not embed step.Common", d.Name)
	}
	job.common = holder.common()
	args, err := withCommand(d, job.Args)
	if err != nil {
		return err
	}
	from := input.Sources{Step: d.Name, Args: args, Environ: job.Environ, Untrusted: job.CI.Fork}
	// First without the file, which one of the inputs names.
	values, err := input.Parse(target, from)
	for _, secret := range values.Secrets {
		job.Mask(secret)
	}
	if err != nil {
		return err
	}
	if from.File, err = readConfig(job, d.Name); err != nil {
		return err
	}
	if values, err = input.Parse(target, from); err != nil {
		return err
	}
	job.Log = newLogger(job.Stderr, job.common.LogLevel)
	job.Workspace = job.Abs(job.common.Dir)
	if err := checkWorkspace(job.Workspace); err != nil {
		return err
	}
	for _, w := range values.Warnings {
		job.Log.Warn(w)
	}
	job.Log.Debug("context", "context", job.CI)
	return nil
}

// withCommand turns the verb of `imagewright-prune apply` into the value of the
// input command.
func withCommand(d Declaration, args []string) ([]string, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return args, nil
	}
	if len(d.Commands) == 0 {
		return nil, fault.Usage(fmt.Errorf("argument %q: imagewright-%s takes flags only", args[0], d.Name), "see --help")
	}
	return append([]string{"--command=" + args[0]}, args[1:]...), nil
}

func readConfig(job *Job, name string) (input.File, error) {
	given := job.common.Config
	return input.ReadFile(job.Dir, cmp.Or(given, input.FileName), given != "", name, Names())
}

// run is s.Run, with a panic turned into an error: it must not end with exit
// code 2, which means bad usage.
func (j *Job) run(ctx context.Context, s Step) (err error) {
	defer func() {
		if r := recover(); r != nil {
			j.Log.Debug("panic", "stack", string(debug.Stack()))
			err = fault.Failed(fmt.Errorf("internal error: %v", r), "this is a bug; run with log-level=debug and report it")
		}
	}()
	return s.Run(ctx, j)
}

// finish hands outputs and summary to the CI, prints the error and returns the
// exit code. An output that cannot be written is an error: a green step without
// its outputs misleads the next one.
func (j *Job) finish(ctx context.Context, d Declaration, err error) int {
	if j.Workspace != "" {
		err = errors.Join(err, j.writeOutputs(d.Name), j.writeSummary(d.Name), j.handOver())
	}
	if err == nil {
		return 0
	}
	if s, ok := errors.AsType[*stopped](context.Cause(ctx)); ok {
		fmt.Fprintf(j.Stderr, "imagewright-%s: %s\n", d.Name, s)
		return 128 + int(s.signal)
	}
	fmt.Fprintf(j.Untrusted(), "imagewright-%s: %s\n", d.Name, message(err)) // errors quote images and Dockerfiles
	return fault.Code(err)
}

// message is err and what to do about it, in one paragraph of printable text.
func message(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		lines = append(lines, ci.Printable(strings.TrimRight(line, "\n")))
	}
	if hint := fault.Hint(err); hint != "" {
		lines[len(lines)-1] += "; " + ci.Printable(hint)
	}
	return strings.Join(lines, "\n")
}
