package test

import (
	"context"
	"errors"
	"flag"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/imagewright/imagewright/test/database"
	"github.com/imagewright/imagewright/test/images"
	"github.com/imagewright/imagewright/test/registry"
)

// state is what the commands of one script remember.
type state struct {
	registries map[string]*running
	files      map[string]identity // by absolute path
}

type stateKey struct{}

func newState() *state {
	return &state{registries: map[string]*running{}, files: map[string]identity{}}
}

func stateOf(ts *testscript.TestScript) *state { return ts.Value(stateKey{}).(*state) }

// command is a script command; "!" is for those that give it a meaning.
type command = func(ts *testscript.TestScript, neg bool, args []string)

// commands are the scripts' commands that testscript does not have.
func commands() map[string]command {
	all := map[string]command{
		"database":  makeDatabase,
		"digest":    compareDigests,
		"exits":     exits,
		"git-init":  gitInit,
		"image":     makeImage,
		"registry":  runRegistry,
		"remember":  remember,
		"unchanged": unchanged,
	}
	maps.Copy(all, faultCommands())
	maps.Copy(all, servingCommands())
	return all
}

// exits CODE PROGRAM [ARG…] runs a program that must end with that code;
// `stdout` and `stderr` look at what it said.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	if len(args) < 2 {
		ts.Fatalf("usage: exits code program [argument...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s ended with code %d, want %d", args[1], got, want)
	}
}

// running is a registry and how to start it again.
type running struct {
	options registry.Options
	server  *registry.Server
}

// registry [-name=NAME] [-user=NAME:PASSWORD] starts a registry and puts its
// host:port into $REGISTRY, or $NAME. -stop takes it down, with all it stores
// kept; -again brings it back at the same address.
func runRegistry(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	flags := flag.NewFlagSet("registry", flag.ContinueOnError)
	as := flags.String("name", "REGISTRY", "")
	user := flags.String("user", "", "")
	stop := flags.Bool("stop", false, "")
	again := flags.Bool("again", false, "")
	parse(ts, flags, args)
	all := stateOf(ts).registries
	switch r := all[*as]; {
	case *stop && r != nil:
		ts.Check(r.server.Stop())
	case *again && r != nil:
		r.start(ts)
	case *stop, *again:
		ts.Fatalf("no registry %s was started", *as)
	case r != nil:
		ts.Fatalf("registry %s runs already", *as)
	default:
		r = &running{options: registry.Options{Dir: filepath.Join(ts.Getenv("WORK"), ".registry-"+*as)}}
		if name, password, ok := strings.Cut(*user, ":"); ok {
			r.options.Users = map[string]string{name: password}
		}
		r.start(ts)
		r.options.Addr = r.server.Addr() // for -again
		all[*as] = r
		ts.Setenv(*as, r.server.Addr())
	}
}

func (r *running) start(ts *testscript.TestScript) {
	server, err := registry.Start(context.Background(), r.options)
	ts.Check(err)
	r.server = server
	ts.Defer(func() { _ = server.Stop() }) // a failing stop fails its own package's tests
}

// image [-base=busybox] [-user=USER] DESTINATION [DIR…] makes an image with one
// layer a folder; without folders, one file that names the destination, so that
// two images differ. The destination is an OCI archive (….tar), a layout (…/),
// or a reference to push to.
func makeImage(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	base := flags.String("base", "", "")
	user := flags.String("user", "", "")
	parse(ts, flags, args)
	if flags.NArg() == 0 {
		ts.Fatalf("usage: image [-base=busybox] [-user=user] destination [dir...]")
	}
	to := flags.Arg(0)
	var steps []images.Step
	for _, dir := range flags.Args()[1:] {
		layer, err := images.DirLayer(ts.MkAbs(dir))
		ts.Check(err)
		steps = append(steps, images.Step{CreatedBy: "COPY " + dir, Layer: layer})
	}
	if len(steps) == 0 {
		layer, err := images.TextLayer(map[string]string{"name": filepath.Base(to)})
		ts.Check(err)
		steps = []images.Step{{CreatedBy: "COPY name", Layer: layer}}
	}
	image, err := images.Compose(baseImage(ts, *base), steps, func(c *v1.Config) { c.User = *user })
	ts.Check(err)
	switch {
	case strings.HasSuffix(to, ".tar"):
		ts.Check(images.WriteArchive(ts.MkAbs(to), image))
	case strings.HasSuffix(to, "/"):
		ts.Check(images.WriteLayout(ts.MkAbs(to), image))
	default:
		ts.Check(remote.Write(reference(ts, to), image))
	}
}

func baseImage(ts *testscript.TestScript, base string) v1.Image {
	if base == "" {
		return nil
	}
	maker := images.Maker{Cache: filepath.Join("..", ".cache", "images"), Log: os.Stderr}
	image, _, err := maker.StandIn(context.Background(), base)
	ts.Check(err)
	if image == nil {
		ts.Fatalf("there is no base image %s here", base)
	}
	return image
}

// digest A B holds two images to the same digest, `! digest` to different ones.
// Each is a reference, an archive, a layout or a digest. digest -env=NAME A puts
// the digest of A into $NAME.
func compareDigests(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("digest", flag.ContinueOnError)
	into := flags.String("env", "", "")
	parse(ts, flags, args)
	if *into != "" && flags.NArg() == 1 {
		ts.Setenv(*into, digestOf(ts, flags.Arg(0)))
		return
	}
	if flags.NArg() != 2 {
		ts.Fatalf("usage: digest image image, or digest -env=name image")
	}
	a, b := digestOf(ts, flags.Arg(0)), digestOf(ts, flags.Arg(1))
	if (a == b) == neg {
		ts.Fatalf("%s is %s\n%s is %s", flags.Arg(0), a, flags.Arg(1), b)
	}
}

func digestOf(ts *testscript.TestScript, image string) string {
	if strings.HasPrefix(image, "sha256:") {
		return image
	}
	if info, err := os.Stat(ts.MkAbs(image)); err == nil {
		digest, err := rootDigest(ts.MkAbs(image), info)
		ts.Check(err)
		return digest
	}
	descriptor, err := remote.Head(reference(ts, image))
	ts.Check(err)
	return descriptor.Digest.String()
}

// database [-schema=N] [-age=DURATION] [-empty] REFERENCE [FIXTURE…] pushes a
// vulnerability database: the built-in one, an empty one, or one of fixtures.
func makeDatabase(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	flags := flag.NewFlagSet("database", flag.ContinueOnError)
	schema := flags.Int("schema", 0, "")
	age := flags.Duration("age", 0, "")
	empty := flags.Bool("empty", false, "")
	parse(ts, flags, args)
	if flags.NArg() == 0 {
		ts.Fatalf("usage: database [-schema=n] [-age=duration] [-empty] reference [fixture...]")
	}
	options := database.Options{Version: *schema, UpdatedAt: time.Now().Add(-*age)}
	if *empty {
		options.Fixtures = []string{}
	}
	for _, file := range flags.Args()[1:] {
		options.Fixtures = append(options.Fixtures, ts.MkAbs(file))
	}
	_, err := database.Seed(context.Background(), reference(ts, flags.Arg(0)), options)
	ts.Check(err)
}

// identity tells a file that was written again, even with the same content,
// from one that was left alone.
type identity struct {
	inode    uint64
	modified syscall.Timespec
}

// remember FILE… notes which files these are, for unchanged.
func remember(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	for _, file := range args {
		stateOf(ts).files[ts.MkAbs(file)] = identify(ts, file)
	}
}

// unchanged FILE… holds files to be the very ones that were remembered: same
// inode, same modification time. `! unchanged` wants each of them written anew.
func unchanged(ts *testscript.TestScript, neg bool, args []string) {
	for _, file := range args {
		was, ok := stateOf(ts).files[ts.MkAbs(file)]
		if !ok {
			ts.Fatalf("%s was not remembered", file)
		}
		if now := identify(ts, file); (now == was) == neg {
			ts.Fatalf("%s: was %+v, is %+v", file, was, now)
		}
	}
}

func identify(ts *testscript.TestScript, file string) identity {
	info, err := os.Lstat(ts.MkAbs(file))
	ts.Check(err)
	stat := info.Sys().(*syscall.Stat_t)
	return identity{stat.Ino, stat.Mtim}
}

func reference(ts *testscript.TestScript, s string) name.Reference {
	parsed, err := name.ParseReference(s)
	ts.Check(err)
	return parsed
}

func parse(ts *testscript.TestScript, flags *flag.FlagSet, args []string) {
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		ts.Fatalf("%s: %v", flags.Name(), err)
	}
	if i := slices.IndexFunc(flags.Args(), func(arg string) bool { return strings.HasPrefix(arg, "-") }); i >= 0 {
		ts.Fatalf("%s: %s stands after the arguments", flags.Name(), flags.Arg(i))
	}
}

func refuse(ts *testscript.TestScript, neg bool) {
	if neg {
		ts.Fatalf("! has no meaning here")
	}
}
