package build

import "github.com/imagewright/imagewright/internal/step"

// Inputs of build. Where docker/build-push-action has an input, the name, the
// meaning and the format of its value are the same. Guarded are those that could
// hand a fork's code the runner's files, variables and credentials.
type Inputs struct {
	What       `group:"What to build"`
	How        `group:"How to build it"`
	Mounts     `group:"Secrets"`
	Caches     `group:"Cache"`
	Registries `group:"Registries of base images and caches"`
	Builder    `group:"Builder"`
	step.Common
}

// What is the image that is wanted.
type What struct {
	Context       string   `name:"context" harmless:"" default:"." placeholder:"DIRECTORY" help:"Directory that is the build context, below the checkout or anywhere."`
	File          string   `name:"file" harmless:"" placeholder:"PATH" help:"Dockerfile, relative to the checkout; Dockerfile in the context when not given."`
	Target        string   `name:"target" harmless:"" placeholder:"STAGE" help:"Stage to build; the last one when not given."`
	BuildArgs     []string `name:"build-args" harmless:"" placeholder:"NAME=VALUE" help:"Values for ARG, one a line; they can be read from the image, so never a secret."`
	BuildContexts []string `name:"build-contexts" placeholder:"NAME=VALUE" help:"Named contexts, one a line: a directory, docker-image://REFERENCE, or oci-layout://PATH with :tag or @digest."`
	Labels        []string `name:"labels" harmless:"" placeholder:"NAME=VALUE" help:"Labels of the image, one a line; they win over those that build sets itself."`
	Platforms     []string `name:"platforms" harmless:"" list:"csv" placeholder:"OS/ARCH" help:"Platform to build for; only this machine's own."`
}

// How changes the way there, not the image that is wanted.
type How struct {
	NoCache  bool   `name:"no-cache" harmless:"" help:"Run every step again."`
	Pull     bool   `name:"pull" harmless:"" help:"Ask the registry for every base image, even when the builder has it."`
	Network  string `name:"network" harmless:"" enum:"default,none" default:"default" help:"Network of RUN steps."`
	Progress string `name:"progress" harmless:"" enum:"auto,plain,tty,quiet" default:"auto" help:"How the build is shown while it runs."`
}

// Mounts are what RUN --mount=type=secret may read.
type Mounts struct {
	Secrets     string   `name:"secrets" secret:"" placeholder:"ID=VALUE" help:"Secrets for RUN --mount=type=secret, one a line; a value of several lines stands in double quotes."`
	SecretEnvs  []string `name:"secret-envs" list:"csv" placeholder:"ID=VARIABLE" help:"Secrets read from environment variables."`
	SecretFiles []string `name:"secret-files" placeholder:"ID=PATH" help:"Secrets read from files, one a line."`
}

// Caches are where finished steps are kept outside this machine.
type Caches struct {
	CacheFrom []string `name:"cache-from" placeholder:"TYPE=…" help:"Caches to read, one a line: type=registry,ref=REFERENCE or type=local,src=DIRECTORY."`
	CacheTo   []string `name:"cache-to" placeholder:"TYPE=…" help:"Caches to write, one a line: type=registry,ref=REFERENCE or type=local,dest=DIRECTORY; mode=max keeps every stage."`
}

// Registries says who we are to the registries we read from.
type Registries struct {
	Registry string   `name:"registry" placeholder:"HOST" help:"Registry that username and password are for; Docker Hub when not given."`
	Username string   `name:"username" help:"User at that registry."`
	Password string   `name:"password" secret:"" help:"Password or token at that registry."`
	Insecure []string `name:"insecure-registries" list:"csv" placeholder:"HOST[:PORT]" help:"Registries spoken to in plain HTTP; those on this machine's loopback always are."`
}

// Builder is the engine and what it keeps.
type Builder struct {
	StateDir     string `name:"state-dir" placeholder:"DIRECTORY" help:"Where the builder keeps its cache; /var/lib/imagewright for root."`
	StateMaxSize string `name:"state-max-size" placeholder:"SIZE" help:"What that cache may take on disk, such as 20GB; a share of the disk when not given."`
	Runtime      string `name:"runtime" placeholder:"PATH" help:"OCI runtime that RUN steps run in; runc or crun on PATH when not given."`
}
