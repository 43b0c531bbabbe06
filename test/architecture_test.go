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
	Imports    []string // by its own files
	Deps       []string // all, however far
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"/...")
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
}

func TestArrowsPointOneWay(t *testing.T) {
	buildkit, trivy := "github.com/moby/buildkit", "github.com/aquasecurity/trivy"
	rules := []forbidden{
		{"internal", "steps", "the core knows no step"},
		{"internal/step", "internal/image", "running a step knows nothing of images"},
		{"internal/step", "github.com/google/go-containerregistry", "running a step knows nothing of images"},
		{"internal/input", "internal/ci", "what is declared does not depend on where it runs"},
		{"internal/ci", "internal/input", "a CI's facts are no inputs"},
		{"internal/report", "internal/step", "writers see findings, no step"},
		{"internal/finding", "internal/step", "a finding is data"},
		{"internal/version", "internal/registry", "a tag's class depends on its name alone"},
		{"internal/image", "github.com/containerd/containerd", "BuildKit's content store is adapted in internal/buildkit"},
		{"internal/registry/auth", "github.com/google/go-containerregistry/pkg/v1/remote", "build needs credentials, not a client"},
		{"steps/tag", buildkit, "names are made without a builder"},
		{"steps/tag", trivy, "names are made without a scanner"},
		{"steps/push", buildkit, "push only sends what build made"},
		{"steps/push", trivy, "push reads the verdict, it does not make one"},
		{"steps/prune", buildkit, "prune only deletes"},
		{"steps/prune", trivy, "prune only deletes"},
		{"steps/build", trivy, "build does not scan"},
		{"steps/scan", buildkit, "the scanner builds nothing"},
		{"steps/scan", trivy + "/pkg/fanal/analyzer", "it drags in rego, helm and cloud SDKs"},
		{"steps/scan", trivy + "/pkg/fanal/applier", "it drags in rego, helm and cloud SDKs"},
	}
	packages := listPackages(t)
	for _, rule := range rules {
		from, to := rule.from, rule.to
		if !strings.Contains(from, ".") {
			from = module + "/" + from
		}
		if !strings.Contains(to, ".") {
			to = module + "/" + to
		}
		found := false
		for _, p := range packages {
			if !below(p.ImportPath, from) {
				continue
			}
			found = true
			for _, dep := range p.Deps {
				if below(dep, to) || strings.HasPrefix(dep, to+"/") {
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

func TestOnlyMainsAndStepMayExit(t *testing.T) {
	allowed := []string{"internal/step/run.go", "steps/generate/main.go", "internal/buildkit/serve_linux.go", "test/demo/main.go", "bench/rebuild/main.go"}
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			if d != nil && d.IsDir() && (d.Name() == "bin" || d.Name() == "examples" || strings.HasPrefix(d.Name(), ".") && path != "..") {
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
