package buildkit

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"runtime/debug"
)

// moduleVersion returns the version of the BuildKit module linked into this
// program, "unknown" where Go did not record it.
func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/moby/buildkit" {
				return m.Version
			}
		}
	}
	return "unknown"
}

// programVersion tells this program from every other build of it: it is the
// digest of the linker's note, wherever the file lies and whatever it is called.
//
// https://pkg.go.dev/cmd/internal/buildid
func programVersion() string {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return moduleVersion()
	}
	defer f.Close()
	note := f.Section(".note.go.buildid")
	if note == nil {
		return moduleVersion()
	}
	b, err := note.Data()
	if err != nil {
		return moduleVersion()
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
