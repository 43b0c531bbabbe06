package test

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/imagewright/imagewright"

// listedPackage is what `go list` says of a package.
type listedPackage struct {
	ImportPath string
	Name       string
	Imports    []string // by its own files
	Deps       []string // all, however far
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Imports,Deps", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var packages []listedPackage
	for d := json.NewDecoder(out); ; {
		var p listedPackage
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("go list: %v", err)
	}
	return packages
}

// below tells whether path is the package root or lies under it.
func below(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// An arrow that must not exist, however many packages lie between.
type forbidden struct {
	from, to string // a package and all below it; the module's own are relative
	why      string
	alone    bool // to is that package alone, without what lies below it
}

// matches tells whether dep is what the rule keeps from being reached.
func (f forbidden) matches(dep string) bool {
	to := inModule(f.to)
	return dep == to || !f.alone && below(dep, to)
}

// inModule completes a path of the module's own, which names no host.
func inModule(path string) string {
	if strings.Contains(path, ".") {
		return path
	}
	return module + "/" + path
}

func TestArrowsPointOneWay(t *testing.T) {
	buildkit, trivy := "github.com/moby/buildkit", "github.com/aquasecurity/trivy"
	rules := []forbidden{
		{from: "internal", to: "steps", why: "the core knows no step"},
		{from: "internal/step", to: "internal/image", why: "running a step knows nothing of images"},
		{from: "internal/step", to: "github.com/google/go-containerregistry", why: "running a step knows nothing of images"},
		{from: "internal/input", to: "internal/ci", why: "what is declared does not depend on where it runs"},
		{from: "internal/ci", to: "internal/input", why: "a CI's facts are no inputs"},
		{from: "internal/report", to: "internal/step", why: "writers see findings, no step"},
		{from: "internal/finding", to: "internal/step", why: "a finding is data"},
		{from: "internal/image", to: "internal/step", why: "an image is the same whoever asks, a step, a test or the demo"},
		{from: "internal/registry", to: "internal/step", why: "a client gets what it needs as options, not as inputs"},
		{from: "internal/record", to: "internal/step", why: "what steps hand on outlives the program that wrote it"},
		{from: "internal/version", to: "internal/step", why: "a tag's class depends on its name alone"},
		{from: "internal/source", to: "internal/step", why: "a checkout's facts depend on no step"},
		{from: "internal/version", to: "internal/registry", why: "a tag's class depends on its name alone"},
		{from: "internal/image", to: "github.com/containerd/containerd", why: "BuildKit's content store is adapted in internal/buildkit"},
		{from: "internal/registry/auth", to: "github.com/google/go-containerregistry/pkg/v1/remote", why: "build needs credentials, not a client"},
		{from: "steps/tag", to: buildkit, why: "names are made without a builder"},
		{from: "steps/tag", to: trivy, why: "names are made without a scanner"},
		{from: "steps/push", to: buildkit, why: "push only sends what build made"},
		{from: "steps/push", to: trivy, why: "push reads the verdict, it does not make one"},
		{from: "steps/prune", to: buildkit, why: "prune only deletes"},
		{from: "steps/prune", to: trivy, why: "prune only deletes"},
		{from: "internal/buildkit", to: "internal/step", why: "a builder gets what it needs as options, not as inputs"},
		{from: "internal/buildkit/userns", to: buildkit, why: "who enters a user namespace need not know what for"},
		{from: "steps/build", to: trivy, why: "build does not scan"},
		{from: "steps/build", to: "github.com/sigstore/sigstore-go/pkg/verify", why: "caches are not signed here, and it is 5 MB"},
		{from: "steps/build", to: "internal/registry", alone: true, why: "the engine pulls; build gives it credentials, not a second client"},
		{from: "steps/scan", to: buildkit, why: "the scanner builds nothing"},
		{from: "steps/scan", to: trivy + "/pkg/fanal/analyzer", why: "it drags in rego, helm and cloud SDKs"},
		{from: "steps/scan", to: trivy + "/pkg/fanal/applier", why: "it drags in rego, helm and cloud SDKs"},
		{from: "steps/scan", to: trivy + "/pkg/fanal/secret", why: "it compiles a hundred expressions at every start of the program; its rules are data here"},
		{from: "steps/scan/sandbox", to: trivy, why: "what confines does not depend on what is confined"},
	}
	packages := listPackages(t)
	for _, rule := range rules {
		found := false
		for _, p := range packages {
			if !below(p.ImportPath, inModule(rule.from)) {
				continue
			}
			found = true
			for _, dep := range p.Deps {
				if rule.matches(dep) {
					t.Errorf("%s reaches %s: %s", p.ImportPath, dep, rule.why)
					break
				}
			}
		}
		if !found {
			t.Errorf("there is no package %s; the rule about it (%s) holds nothing", rule.from, rule.why)
		}
	}
}

func TestStepsMeetOnlyThroughTheRecord(t *testing.T) {
	for _, p := range listPackages(t) {
		own, ok := strings.CutPrefix(p.ImportPath, module+"/steps/")
		if !ok || own == "generate" {
			continue
		}
		own, _, _ = strings.Cut(own, "/")
		for _, imported := range p.Imports {
			if other, ok := strings.CutPrefix(imported, module+"/steps/"); ok && !below(other, own) {
				t.Errorf("%s imports %s: steps are separate programs", p.ImportPath, imported)
			}
		}
	}
}

// A main that did more would be a part of the program that no test of the step
// runs.
func TestMainsOnlyHandOver(t *testing.T) {
	mains := 0
	for _, p := range listPackages(t) {
		own, name, ok := strings.Cut(strings.TrimPrefix(p.ImportPath, module+"/steps/"), "/")
		if !ok || !below(p.ImportPath, module+"/steps") || p.Name != "main" {
			continue
		}
		mains++
		if name != "imagewright-"+own {
			t.Errorf("%s is a program; want its folder to be %s/imagewright-%s", p.ImportPath, own, own)
		}
		allowed := []string{inModule("internal/step"), inModule("steps/" + own)}
		if own == "build" { // it runs itself again as the engine, and in a container beside one
			allowed = append(allowed, inModule("internal/buildkit"), inModule("internal/buildkit/docker"))
		}
		if own == "scan" { // it runs itself again to read the image
			allowed = append(allowed, inModule("steps/scan/parser"))
		}
		for _, imported := range p.Imports {
			if !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s: a main only hands its step over to internal/step", p.ImportPath, imported)
			}
		}
	}
	if mains != 5 {
		t.Errorf("found %d programs of steps, want 5: the test looks in the wrong place", mains)
	}
}

// What the step itself, which has credentials, uses of Trivy is the form of its
// reports: its functions run in the process that is confined.
func TestTheProcessWithCredentialsRunsNoFunctionOfTrivy(t *testing.T) {
	types := []string{
		"github.com/aquasecurity/trivy/pkg/types", "github.com/aquasecurity/trivy/pkg/fanal/types", "github.com/aquasecurity/trivy-db/pkg/types",
	}
	own := []string{"steps/scan", "steps/scan/database", "steps/scan/kept"}
	checked := 0
	for _, p := range listPackages(t) {
		if !slices.Contains(own, strings.TrimPrefix(p.ImportPath, module+"/")) {
			continue
		}
		checked++
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, "github.com/aquasecurity/") && !slices.Contains(types, imported) {
				t.Errorf("%s imports %s: have the parser do it", p.ImportPath, imported)
			}
		}
	}
	if checked != len(own) {
		t.Errorf("found %d of the packages %v: the test looks in the wrong place", checked, own)
	}
}

func TestOnlyMainsAndStepMayExit(t *testing.T) {
	allowed := []string{
		"internal/step/run.go", "steps/generate/main.go", "test/demo/main.go", "bench/rebuild/main.go", "bench/build/main.go", "bench/scan/main.go",
		// What this program is when it runs itself again.
		"internal/buildkit/serve_linux.go", "internal/buildkit/docker/stdio.go", "internal/buildkit/userns/enter_linux.go",
		"steps/scan/parser/start_linux.go",
	}
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			if d != nil && d.IsDir() && (d.Name() == "bin" || d.Name() == "examples" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != "..") {
				return filepath.SkipDir
			}
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), "../")
		if strings.Contains(string(source), "os.Exit(") && !slices.Contains(allowed, name) {
			t.Errorf("%s calls os.Exit: what it should clean up is left behind", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBinariesStaySmall(t *testing.T) {
	for step, bound := range map[string]int64{"build": 42, "scan": 42, "push": 20, "tag": 17, "prune": 15} { // MB of 10⁶ bytes
		info, err := os.Stat(filepath.Join("..", "bin", "imagewright-"+step))
		if err != nil {
			t.Errorf("%v: run make build first", err)
			continue
		}
		t.Logf("imagewright-%s: %.1f MB of %d", step, float64(info.Size())/1e6, bound)
		if info.Size() > bound*1e6 {
			t.Errorf("imagewright-%s has %.1f MB, more than %d: something heavy is linked", step, float64(info.Size())/1e6, bound)
		}
	}
}

func TestWithoutTheExperimentGoSaysSoInOneLine(t *testing.T) {
	cmd := exec.Command("go", "vet", module+"/...")
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "GOEXPERIMENT=") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err == nil || len(lines) != 1 || !strings.Contains(lines[0], "GOEXPERIMENT_jsonv2_is_not_set__use_make_or_export_it") {
		t.Errorf("go vet without GOEXPERIMENT=jsonv2: %v\n%s\nwant one line that says what is missing", err, out)
	}
}
