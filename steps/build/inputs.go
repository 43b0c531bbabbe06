package build

import "github.com/imagewright/imagewright/internal/step"

// Inputs of build. Where docker/build-push-action has an input, the name, the
// meaning and the format of its value are the same. Guarded are those that could
// hand a fork's code the runner's files, variables and credentials.
type Inputs struct {
	Command    string `name:"command" enum:"build,merge,serve" default:"build" help:"Whether to build (build), to join images of several jobs into one (merge), or to run a builder for other programs (serve)."`
	What       `group:"What to build"`
	How        `group:"How to build it"`
	Mounts     `group:"Secrets"`
	Results    `group:"Result"`
	Caches     `group:"Cache"`
	Registries `group:"Registries of base images and caches"`
	Builder    `group:"Builder"`
	Verbs      `group:"merge and serve"`
	step.Common
}

// What is the image that is wanted.
type What struct {
	Context       string   `name:"context" harmless:"" default:"." placeholder:"DIRECTORY|URL" help:"Build context: a directory, relative to the checkout or absolute, a git address with #REF:SUBDIRECTORY, a tar archive, or - for an archive or a Dockerfile on standard input."`
	File          string   `name:"file" harmless:"" placeholder:"PATH" help:"Dockerfile, relative to the checkout, wherever it is; Dockerfile in the context when not given."`
	Target        string   `name:"target" harmless:"" environment:"set" placeholder:"STAGE" help:"Stage to build; the last one when not given."`
	Env           string   `name:"env" harmless:"" environment:"pick" placeholder:"NAME" help:"Environment of imagewright.yaml whose inputs count, such as development."`
	BuildArgs     []string `name:"build-args" harmless:"" environment:"append" placeholder:"NAME=VALUE" help:"Values for ARG, one a line; they can be read from the image, so never a secret."`
	BuildArgsFile []string `name:"build-args-file" placeholder:"PATH" help:"Files of values for ARG, NAME=VALUE lines; build-args wins over them."`
	BuildContexts []string `name:"build-contexts" placeholder:"NAME=VALUE" help:"Named contexts, one a line: a directory, docker-image://REFERENCE, oci-layout://PATH with :tag or @digest, or a git or https address."`
	Labels        []string `name:"labels" harmless:"" environment:"append" placeholder:"NAME=VALUE" help:"Labels of the image, one a line; they win over those that build sets itself."`
	Annotations   []string `name:"annotations" harmless:"" placeholder:"[LEVEL:]NAME=VALUE" help:"Annotations, one a line; the level is manifest (the default), index, manifest-descriptor or index-descriptor, with [OS/ARCH] behind it for one platform."`
	Platforms     []string `name:"platforms" harmless:"" environment:"set" list:"csv" placeholder:"OS/ARCH" help:"Platforms to build for; the builder's own when not given."`
}

// How changes the way there, not the image that is wanted.
type How struct {
	NoCache         bool     `name:"no-cache" harmless:"" help:"Run every step again."`
	NoCacheFilters  []string `name:"no-cache-filters" harmless:"" list:"csv" placeholder:"STAGE" help:"Stages whose steps are run again."`
	Pull            bool     `name:"pull" harmless:"" help:"Ask the registry for every base image, even when the builder has it."`
	Network         string   `name:"network" enum:"default,none,host" default:"default" help:"Network of RUN steps."`
	AddHosts        []string `name:"add-hosts" list:"csv" placeholder:"HOST:IP" help:"Further lines of /etc/hosts in RUN steps."`
	Allow           []string `name:"allow" list:"csv" placeholder:"ENTITLEMENT" help:"Rights that the Dockerfile may ask for: network.host, security.insecure or device."`
	Ulimit          []string `name:"ulimit" placeholder:"NAME=SOFT[:HARD]" help:"Limits of the processes of RUN steps, one a line, such as nofile=1024:1024."`
	ShmSize         string   `name:"shm-size" placeholder:"SIZE" help:"Size of /dev/shm in RUN steps, such as 128m."`
	CgroupParent    string   `name:"cgroup-parent" placeholder:"CGROUP" help:"Parent control group of RUN steps."`
	Memory          string   `name:"memory" placeholder:"SIZE" help:"Memory that one RUN step may take, such as 2g."`
	MemorySwap      string   `name:"memory-swap" placeholder:"SIZE" help:"Memory and swap space together that one RUN step may take; -1 for no limit."`
	CPUs            string   `name:"cpus" placeholder:"NUMBER" help:"Processors that one RUN step may use at a time, such as 1.5."`
	CPUShares       int      `name:"cpu-shares" default:"0" help:"Weight of a RUN step against other processes; 0 leaves it to the kernel."`
	CPUSet          string   `name:"cpuset-cpus" placeholder:"LIST" help:"Processors that RUN steps may use, such as 0-2,4."`
	SourceDateEpoch string   `name:"source-date-epoch" harmless:"" placeholder:"SECONDS" help:"Date in the image, in seconds since 1970; the commit's when not given."`
	Call            string   `name:"call" enum:"build,check,outline,targets" default:"build" help:"What to do with the Dockerfile: build it, check it, or print its outline or its targets."`
	Progress        string   `name:"progress" harmless:"" enum:"auto,plain,tty,quiet,rawjson" default:"auto" help:"How the build is shown while it runs."`
}

// Mounts are what RUN --mount=type=secret and type=ssh may read.
type Mounts struct {
	Secrets          string   `name:"secrets" secret:"" placeholder:"ID=VALUE" help:"Secrets for RUN --mount=type=secret, one a line; a value of several lines stands in double quotes."`
	SecretEnvs       []string `name:"secret-envs" list:"csv" placeholder:"ID=VARIABLE" help:"Secrets read from environment variables."`
	SecretFiles      []string `name:"secret-files" placeholder:"ID=PATH" help:"Secrets read from files, one a line."`
	SSH              []string `name:"ssh" list:"csv" placeholder:"ID[=SOCKET|KEY,…]" help:"SSH agent sockets or keys for RUN --mount=type=ssh; default is the agent of SSH_AUTH_SOCK."`
	GitHubToken      string   `name:"github-token" secret:"" help:"Token for a context that is a private git repository."`
	AllowForkSecrets bool     `name:"allow-fork-secrets" help:"Hand secrets also to builds of pull requests from forks."`
}

// Results are what comes out besides the layout in the workspace.
type Results struct {
	Tags              []string `name:"tags" list:"csv" placeholder:"REFERENCE" help:"Names of the image; recorded for push, and written into outputs that carry names."`
	Outputs           []string `name:"outputs" placeholder:"TYPE=…" help:"Further results, one a line: type=docker, oci or tar with dest=FILE, or type=local with dest=DIRECTORY. The layout is always made."`
	Push              bool     `name:"push" help:"Only says that imagewright-push should follow: build has no right to push."`
	Load              bool     `name:"load" help:"Only says that the image is wanted in a Docker engine: docker.tar in the workspace is for docker load."`
	Provenance        string   `name:"provenance" placeholder:"true|false|mode=min|mode=max" help:"Record how the image came to be, as an in-toto statement in the workspace's reports."`
	SBOM              string   `name:"sbom" placeholder:"true|false|generator=IMAGE" help:"Record that a list of the image's packages is wanted, or have a generator image make one."`
	Attests           []string `name:"attests" placeholder:"type=…" help:"Attestations, one a line: type=provenance,… or type=sbom,…; provenance and sbom win over them."`
	RequirePinnedBase bool     `name:"require-pinned-base" help:"Refuse base images that are not named by their digest."`
}

// Caches are where finished steps are kept outside this machine.
type Caches struct {
	CacheFrom []string `name:"cache-from" placeholder:"TYPE=…" help:"Caches to read, one a line, such as type=registry,ref=REFERENCE, type=local,src=DIRECTORY or type=gha."`
	CacheTo   []string `name:"cache-to" placeholder:"TYPE=…" help:"Caches to write, one a line, such as type=registry,ref=REFERENCE, type=local,dest=DIRECTORY, type=inline or type=gha; mode=max keeps every stage."`
}

// Registries says who we are to the registries we read from, and where they are.
type Registries struct {
	Registry string   `name:"registry" placeholder:"HOST" help:"Registry that username and password are for; Docker Hub when not given."`
	Username string   `name:"username" help:"User at that registry."`
	Password string   `name:"password" secret:"" help:"Password or token at that registry."`
	Insecure []string `name:"insecure-registries" list:"csv" placeholder:"HOST[:PORT]" help:"Registries spoken to in plain HTTP; those on this machine's loopback always are."`
	Mirrors  []string `name:"mirrors" placeholder:"REGISTRY=MIRROR" help:"Mirrors to ask before a registry, one a line, such as docker.io=mirror.example.com."`
}

// Builder is the engine and what it keeps.
type Builder struct {
	Builder      []string `name:"builder" placeholder:"[PLATFORM,…=]ADDRESS" help:"Where to build: auto, embedded, docker, docker-privileged, or the address of a BuildKit: tcp://, unix://, ssh://, docker-container:// or kube-pod://. Several lines with platforms before them make one image of several builders."`
	CACert       string   `name:"builder-cacert" placeholder:"FILE" help:"PEM file of the authority of a tcp:// builder's certificate."`
	Cert         string   `name:"builder-cert" placeholder:"FILE" help:"PEM file of the certificate that a tcp:// builder asks us for."`
	Key          string   `name:"builder-key" placeholder:"FILE" help:"PEM file of that certificate's key."`
	ServerName   string   `name:"builder-servername" placeholder:"HOST" help:"Name in a tcp:// builder's certificate, where it is not the address's."`
	BuilderImage string   `name:"builder-image" placeholder:"IMAGE" help:"Image of a docker-privileged builder; the one this program runs in when not given."`
	BuilderRm    bool     `name:"builder-rm" help:"Remove a docker-privileged builder and its state after the build."`
	State        string   `name:"state" enum:"shared,private" default:"shared" help:"Whether builds at the same time share one builder and its cache (shared), or this one has a new one that goes with it (private)."`
	StateDir     string   `name:"state-dir" placeholder:"DIRECTORY" help:"Where the builder keeps its cache; /var/lib/imagewright for root."`
	StateMaxSize string   `name:"state-max-size" placeholder:"SIZE" help:"What that cache may take on disk, such as 20GB; a share of the disk when not given."`
	Runtime      string   `name:"runtime" placeholder:"PATH" help:"OCI runtime that RUN steps run in; runc or crun on PATH when not given."`
	CAInSteps    bool     `name:"ca-in-steps" default:"true" negatable:"" help:"Let RUN steps trust ca-bundle too; no layer holds it."`
}

// Verbs are the inputs of merge and serve.
type Verbs struct {
	Sources []string `name:"sources" placeholder:"LAYOUT|REFERENCE" help:"For merge: layouts of other jobs, or references with a digest, one a line."`
	Addr    string   `name:"addr" placeholder:"ADDRESS" help:"For serve: unix:///PATH, or tcp://127.0.0.1:PORT for this machine alone."`
}
