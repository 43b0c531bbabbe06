package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/fault"
)

func TestFrontendAttributes(t *testing.T) {
	stages := stagesOf(t, "FROM scratch AS One\nFROM scratch AS two\n")
	for _, tc := range []struct {
		name string
		how  How
		want map[string]string
	}{
		{"nothing", How{Network: "default"}, map[string]string{}},
		{"no cache at all", How{NoCache: true}, map[string]string{"no-cache": ""}},
		{"no cache for stages", How{NoCacheFilters: []string{"one", "two"}}, map[string]string{"no-cache": "one,two"}},
		{"pull and network", How{Pull: true, Network: "none", CgroupParent: "ci"}, map[string]string{"image-resolve-mode": "pull", "force-network-mode": "none", "cgroup-parent": "ci"}},
		{"hosts", How{AddHosts: []string{"a:10.0.0.1", "b=10.0.0.2", "c:::1", "d:[fd00::1]", "e=fd00::2"}},
			map[string]string{"add-hosts": "a=10.0.0.1,b=10.0.0.2,c=::1,d=fd00::1,e=fd00::2"}},
		{"limits", How{Ulimit: []string{"nofile=1024:4096", "nproc=10", "core=-1"}}, map[string]string{"ulimit": "nofile=1024:4096,nproc=10:10,core=-1:-1"}},
		{"memory", How{ShmSize: "128m", Memory: "2g", MemorySwap: "3G"}, map[string]string{"shm-size": "134217728", "memory": "2147483648", "memswap": "3221225472"}},
		{"swap without limit", How{Memory: "64m", MemorySwap: "-1"}, map[string]string{"memory": "67108864", "memswap": "-1"}},
		{"processors", How{CPUs: "1.5", CPUShares: 512, CPUSet: "0-2,4"},
			map[string]string{"cpuperiod": "100000", "cpuquota": "150000", "cpushares": "512", "cpusetcpus": "0-2,4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.how.attrs(stages)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadBuildInputs(t *testing.T) {
	stages := stagesOf(t, "FROM scratch AS one\n")
	for want, how := range map[string]How{
		"no-cache-filters: no-cache runs":                 {NoCache: true, NoCacheFilters: []string{"one"}},
		`no-cache-filters: there is no stage "three"`:     {NoCacheFilters: []string{"three"}},
		`add-hosts, entry 2: "b" is not HOST:IP`:          {AddHosts: []string{"a:10.0.0.1", "b"}},
		`add-hosts, entry 1: "x" is no IP address`:        {AddHosts: []string{"a:x"}},
		"add-hosts, entry 1: host-gateway":                {AddHosts: []string{"a:host-gateway"}},
		`add-hosts, entry 1: "a b" is no host's name`:     {AddHosts: []string{"a b:10.0.0.1"}},
		`allow, entry 1: "all" is not accepted`:           {Allow: []string{"all"}},
		`ulimit, entry 1: "files=1"`:                      {Ulimit: []string{"files=1"}},
		`shm-size: "much" is not accepted`:                {ShmSize: "much"},
		`memory: "-1" is not accepted`:                    {Memory: "-1"},
		"memory-swap: 1m is less than memory":             {Memory: "2m", MemorySwap: "1m"},
		"memory-swap: it counts only":                     {MemorySwap: "1m"},
		`cpus: "0" is not accepted`:                       {CPUs: "0"},
		`cpus: "NaN" is not accepted`:                     {CPUs: "NaN"},
		`cpus: "1e99" is not accepted`:                    {CPUs: "1e99"},
		"cpu-shares: 1 is not accepted":                   {CPUShares: 1},
		`cpuset-cpus: "2-1" is not accepted`:              {CPUSet: "2-1"},
		`cpuset-cpus: "0-999999999" is not accepted`:      {CPUSet: "0-999999999"},
		`allow, entry 1: "device=a,b" is not accepted; w`: {Allow: []string{"device=a,b"}},
	} {
		_, err := how.attrs(stages)
		if err == nil {
			_, err = how.entitlements()
		}
		if fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), "input "+want) {
			t.Errorf("error %v, want a usage error that says %q", err, want)
		}
	}
}

func TestEntitlements(t *testing.T) {
	for _, tc := range []struct {
		how  How
		want []string
	}{
		{How{}, nil},
		{How{Network: "host"}, []string{"network.host"}}, // it asks for that right by itself
		{How{Allow: []string{"security.insecure", "device=example.org/gpu=all"}}, []string{"security.insecure", "device=example.org/gpu=all"}},
	} {
		got, err := tc.how.entitlements()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("entitlements of %+v (-want +got):\n%s", tc.how, diff)
		}
	}
}

func TestAnnotationsHaveLevelsAndPlatforms(t *testing.T) {
	arm := &ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	got, err := readAnnotations([]string{"a=1=2", "index:b=", "manifest[linux/arm64],manifest-descriptor:c=x:y", `"d=one`, `two"`, "org.example/e:f=g"})
	if err == nil {
		t.Fatalf("a level that is none is accepted: %+v", got)
	}
	got, err = readAnnotations([]string{"a=1=2", "index:b=", "manifest[linux/arm64],manifest-descriptor:c=x:y", `"d=one`, `two"`})
	if err != nil {
		t.Fatal(err)
	}
	want := []annotation{
		{"manifest", nil, "a", "1=2"}, {"index", nil, "b", ""},
		{"manifest", arm, "c", "x:y"}, {"manifest-descriptor", nil, "c", "x:y"}, {"manifest", nil, "d", "one\ntwo"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if name, value := got[2].attr(); name != "annotation-manifest[linux/arm64].c" || value != "x:y" {
		t.Errorf("attribute %s=%s", name, value)
	}
	for _, bad := range []string{"a", "=1", "index[linux/amd64]:a=1", "manifest[linux:a=1", "manifest[]:a=1", "a b=1"} {
		if _, err := readAnnotations([]string{bad}); fault.Code(err) != fault.ExitUsage {
			t.Errorf("%q: error %v, want a usage error", bad, err)
		}
	}
}

func TestArgumentsFromFiles(t *testing.T) {
	dir := checkout(t, map[string]string{
		"common.env": "\ufeff# versions\r\nGO=1.25\r\n\r\n  NODE=22\nQUOTED=\"a b\"\nFROM_ENV\nUNSET\n", "prod.env": "GO=1.26\nEMPTY=\n",
	})
	got, err := fileArgs([]string{"common.env", "prod.env"}, around(dir))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"GO": "1.26", "NODE": "22", "QUOTED": `"a b"`, "FROM_ENV": "e", "EMPTY": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

func TestBadFilesOfArgumentsAreNotShown(t *testing.T) {
	dir := checkout(t, map[string]string{"bad.env": "-----BEGIN t0k3n\n", "large.env": strings.Repeat("#\n", 1<<20)})
	if err := os.Symlink("/proc/self/environ", filepath.Join(dir, "link.env")); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"bad.env": "a line that is not NAME=VALUE", "large.env": "more than 1 MiB", "nowhere.env": "no such file",
		".": "is not a file", "link.env": "leads out of the checkout",
	} {
		s := around(dir)
		s.fork = true
		_, err := fileArgs([]string{file}, s)
		if fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "t0k3n") {
			t.Errorf("%s: error %v, want a usage error that says %q", file, err, want)
		}
	}
}

func TestVariablesOfDockerBuild(t *testing.T) {
	args := map[string]string{"BUILDKIT_INLINE_CACHE": "1", "A": "b"}
	if !takeInlineCache(args) || len(args) != 1 {
		t.Errorf("BUILDKIT_INLINE_CACHE=1 is not taken: %v left", args)
	}
	if takeInlineCache(map[string]string{"BUILDKIT_INLINE_CACHE": "0"}) {
		t.Error("BUILDKIT_INLINE_CACHE=0 asks for a cache")
	}
	environ := map[string]string{"DOCKER_BUILDKIT": "0", "BUILDX_BUILDER": "x"}
	if notes := ignoredVariables(func(name string) string { return environ[name] }); len(notes) != 2 || !strings.Contains(notes[0], "DOCKER_BUILDKIT=0 is ignored") {
		t.Errorf("notes are %q", notes)
	}
	if notes := ignoredVariables(func(name string) string { return map[string]string{"DOCKER_BUILDKIT": "1"}[name] }); len(notes) != 0 {
		t.Errorf("notes of DOCKER_BUILDKIT=1 are %q", notes)
	}
}
