package buildkit

// setup is what the engine is told. Two programs whose setups differ in more
// than Verbose cannot share an engine.
type setup struct {
	Root      string // state directory, absolute
	Temp      string // directory for temporary files, emptied at every start
	Runtime   string // absolute path of runc or crun
	Version   string // of this program
	PlainHTTP []string
	Mirrors   map[string][]string // registry → hosts to ask before it
	MaxSize   int64               // bytes, 0: BuildKit decides
	Verbose   bool                // log more than warnings

	// Rootless says that root here is the root of a user namespace: no control
	// groups, and no devices.
	Rootless bool
	// HostPIDs has RUN steps see this PID namespace's processes: /proc cannot be
	// mounted anew here, as in a container where parts of it are masked.
	HostPIDs bool

	Snapshotter string // "overlayfs", "fuse-overlayfs" or "native"; "" takes the best there is

	// StepCABundle is a PEM file of authorities that RUN steps trust as well; ""
	// for none.
	StepCABundle string

	// Entitlements are what a build may be granted: network.host,
	// security.insecure, device.
	Entitlements []string
}

// answer is what the engine says when it is ready, or why it won't be.
type answer struct {
	Error       string
	Hint        string
	Snapshotter string
}
