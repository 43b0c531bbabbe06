package analysis

import (
	"debug/elf"
	"encoding/binary"
	"testing"
)

// Each of these must end, without a panic of ours and in little memory, whatever
// is in the file; what a parser of Trivy's panics about is a problem.

func FuzzLanguageFile(f *testing.F) {
	paths := []string{"package.json", "a/specifications/x.gemspec", "a/envs/b/conda-meta/a-1-0.json", "a.deps.json", "packages.lock.json", "packages.config",
		"packages.props", "installed.json", "Cargo.lock", "Cargo.toml", "Manifest.toml", "Project.toml", "x.dist-info/METADATA", "x.egg"}
	for i, content := range []string{`{"name":"a","version":"1"}`, rake, numpy, depsJSON, nugetLock, nugetConfig, nugetProps, composerPackages, cargoLock,
		"[workspace]\nmembers = [\"*\"]\n", juliaManifest, juliaProjectFile, requests, "PK\x05\x06"} {
		f.Add(byte(i), []byte(content))
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		p := paths[int(which)%len(paths)]
		fuzzed(t, file{path: p, content: string(data)}, file{path: "x/Cargo.lock", content: cargoLock}, file{path: "x/" + p, content: string(data)},
			file{path: "y/Manifest.toml", content: juliaManifest}, file{path: "y/" + p, content: string(data)})
	})
}

func FuzzSBOM(f *testing.F) {
	for _, content := range []string{cycloneDX, spdxJSON("a", "1", "pkg:npm/a@1"), spdxTagValue, signed("https://cyclonedx.org/bom", cycloneDX)} {
		f.Add([]byte(content))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzed(t, file{path: "opt/bitnami/a/x.spdx", content: string(data)}, file{path: "a.cdx.json", content: string(data)})
	})
}

func FuzzProgram(f *testing.F) {
	list := packed(f, crates)
	f.Add(elfFile(f, elf.ELFCLASS64, binary.LittleEndian, "\x00.dep-v0\x00", list, 2))
	f.Add(elfFile(f, elf.ELFCLASS32, binary.BigEndian, "\x00.dep-v0\x00", list, 0))
	f.Add(machFile(f, list, "\x00_main\x00", 3))
	f.Add(peFile(f, list, "a long name\x00", 3))
	f.Add(wasmFile(".dep-v0", list))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzed(t, file{path: "a", content: string(data), mode: 0o755})
	})
}

// FuzzBounds looks for text that has no end for the meters.
func FuzzBounds(f *testing.F) {
	for _, content := range []string{cycloneDX, cargoLock, "a.b = {c = [[\"x\", 'y']]} # z\n", `"""`, `'''\`} {
		f.Add([]byte(content))
	}
	b := bounds{size: 1 << 20, depth: 16, values: 1000, text: 1000}
	f.Fuzz(func(t *testing.T, data []byte) {
		b.checkJSON(data)
		b.checkTOML(data)
	})
}

func fuzzed(t *testing.T, files ...file) {
	if _, err := Layer(t.Context(), input(layerTar(t, files...)), Options{TempDir: t.TempDir()}); err != nil {
		t.Errorf("Layer: %v", err)
	}
}
