package buildkit

import (
	"maps"
	"slices"
)

// setup is what the engine is told. Programs share an engine only when nothing
// in which their builds could notice a difference differs: see differs.
type setup struct {
	Root      string // state directory, absolute
	Temp      string // directory for temporary files, emptied at every start
	Runtime   string // absolute path of runc or crun
	Version   string // of this program: the linker's id of it
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
	// security.insecure, device. Needs are those that this program's builds ask for.
	Entitlements []string
	Needs        []string

	// Serving says that others than this program build there: they get no more
	// than Entitlements, and are told what the kernel emulates.
	Serving bool

	// Private says that nobody else is let in, and that the state goes with the
	// engine.
	Private bool

	Program string            // who asks: "process 42 on host"
	Network map[string]string // the variables of proxies and certificates
	CAs     string            // digest of the certificates trusted beside the system's; "" for none
	StepCAs string            // digest of what is in StepCABundle
}

// differs names what keeps a program with setup other from sharing an engine
// that has setup s. PATH does not: the engine finds little more than git there,
// and two shells of one machine rarely agree on it.
func (s setup) differs(other setup) []string {
	var names []string
	for _, part := range []struct {
		name string
		same bool
	}{
		{"another version of this program", s.Version == other.Version},
		{"the runtime", s.Runtime == other.Runtime},
		{"insecure registries", sameSet(s.PlainHTTP, other.PlainHTTP)},
		{"mirrors", maps.EqualFunc(s.Mirrors, other.Mirrors, slices.Equal)},
		{"the size of the state", s.MaxSize == other.MaxSize},
		{"the user namespace", s.Rootless == other.Rootless},
		{"the snapshotter", s.Snapshotter == other.Snapshotter},
		{"the CA bundle", s.CAs == other.CAs && s.StepCAs == other.StepCAs},
		{"entitlements", s.grants(other)},
		{"proxies or certificates of the environment", maps.Equal(s.Network, other.Network)},
	} {
		if !part.same {
			names = append(names, part.name)
		}
	}
	return names
}

// grants tells whether an engine with setup s grants what a program with setup
// other may have: what it needs, and exactly what it lets others have.
func (s setup) grants(other setup) bool {
	if other.Serving {
		return s.Serving && sameSet(s.Entitlements, other.Entitlements)
	}
	return !slices.ContainsFunc(other.Needs, func(need string) bool { return !slices.Contains(s.Entitlements, need) })
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}

// answer is what the engine says when it is ready, or why it won't be. With a
// good one comes its log, to read.
type answer struct {
	Error       string
	Hint        string
	Full        bool // the disk that the state is on, which is that error
	Snapshotter string

	// Holder and Differs say who uses the engine, and in what the setup of this
	// program differs from theirs: it is not let in.
	Holder  string
	Differs []string
}

// notice is what the engine says to a program that leaves.
type notice struct {
	Last  bool   // nobody else uses the engine: it ends
	Done  bool   // it has ended; nothing more comes
	Error string // how, when not in order
}
