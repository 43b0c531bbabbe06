package build

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/steps/build/builder"
)

func TestEveryPlatformGoesToABuilderForIt(t *testing.T) {
	for _, tc := range []struct {
		name      string
		builders  []string
		platforms []string
		want      []string // of each builder
		order     string
	}{
		{"one builder takes them all", []string{"tcp://a:1"}, []string{"linux/arm64", "linux/amd64"}, []string{"tcp://a:1 linux/arm64,linux/amd64"}, "linux/arm64,linux/amd64"},
		{"one builder, its own platform", []string{"tcp://a:1"}, nil, []string{"tcp://a:1 "}, ""},
		{"each its own", []string{"linux/amd64=tcp://a:1", "linux/arm64=tcp://b:1"}, []string{"linux/arm64", "linux/amd64"},
			[]string{"tcp://a:1 linux/amd64", "tcp://b:1 linux/arm64"}, "linux/arm64,linux/amd64"},
		{"all that the builders are for", []string{"linux/amd64=tcp://a:1", "linux/arm64,linux/arm/v7=tcp://b:1"}, nil,
			[]string{"tcp://a:1 linux/amd64", "tcp://b:1 linux/arm64,linux/arm/v7"}, "linux/amd64,linux/arm64,linux/arm/v7"},
		{"a builder without work is left out", []string{"linux/amd64=tcp://a:1", "linux/arm64=tcp://b:1"}, []string{"linux/arm64"},
			[]string{"tcp://b:1 linux/arm64"}, "linux/arm64"},
		{"its own before one that runs it too", []string{"linux/arm64=tcp://a:1", "linux/arm/v7=tcp://b:1"}, []string{"linux/arm64", "linux/arm/v7"},
			[]string{"tcp://a:1 linux/arm64", "tcp://b:1 linux/arm/v7"}, "linux/arm64,linux/arm/v7"},
		{"one that runs it too", []string{"linux/amd64=tcp://a:1", "linux/arm64=tcp://b:1"}, []string{"linux/386", "linux/arm/v6"},
			[]string{"tcp://a:1 linux/386", "tcp://b:1 linux/arm/v6"}, "linux/386,linux/arm/v6"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nodes, err := builder.Parse(tc.builders)
			if err != nil {
				t.Fatal(err)
			}
			wanted, err := readPlatforms(tc.platforms)
			if err != nil {
				t.Fatal(err)
			}
			assigned, order, err := assign(nodes, wanted)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range assigned {
				got = append(got, fmt.Sprint(a.node, " ", strings.Join(platformNames(a.platforms), ",")))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("who builds what (-want +got):\n%s", diff)
			}
			if got := strings.Join(platformNames(order), ","); got != tc.order {
				t.Errorf("order of the index is %s, want %s", got, tc.order)
			}
		})
	}
}

func TestAPlatformThatNoBuilderIsForIsAUsageError(t *testing.T) {
	nodes, err := builder.Parse([]string{"linux/amd64=tcp://a:1", "linux/arm64=tcp://b:1"})
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := readPlatforms([]string{"linux/s390x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := assign(nodes, wanted); fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), "no builder is for linux/s390x") {
		t.Errorf("error is %v, want a usage error that names the platform", err)
	}
}

func TestAnImageIsBuiltOnTheBaseForItsOwnPlatform(t *testing.T) {
	wanted, err := readPlatforms([]string{"linux/amd64", "linux/arm64", "linux/arm/v7"})
	if err != nil {
		t.Fatal(err)
	}
	bases := []baseImage{{Platform: wanted[2], Config: &v1.ConfigFile{Author: "copied from"}}}
	for _, p := range wanted {
		bases = append(bases, baseImage{Platform: p, Final: true, Config: &v1.ConfigFile{Author: p.Architecture}})
	}
	for want, p := range map[string]v1.Platform{
		"amd64": {OS: "linux", Architecture: "amd64"},
		"arm64": {OS: "linux", Architecture: "arm64", Variant: "v8"},
		"arm":   {OS: "linux", Architecture: "arm", Variant: "v7"},
	} {
		if got := foundation(bases)(p); got == nil || got.Author != want {
			t.Errorf("the base of %s is %+v", p, got)
		}
	}
	if got := foundation(bases)(v1.Platform{OS: "linux", Architecture: "s390x"}); got != nil {
		t.Errorf("the base for s390x is %+v", got)
	}
}

func TestSeveralBuildersDoNotWriteToOneDirectory(t *testing.T) {
	var log bytes.Buffer
	to := func(kinds ...string) error {
		log.Reset()
		var all []client.CacheOptionsEntry
		for _, kind := range kinds {
			all = append(all, client.CacheOptionsEntry{Type: kind})
		}
		return sharedCaches(all, slog.New(slog.NewTextHandler(&log, nil)))
	}
	if err := to("inline", "local"); fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), "input cache-to") {
		t.Errorf("error %v, want a usage error that names the input", err)
	}
	if err := to("registry"); err != nil || !strings.Contains(log.String(), "the last one") {
		t.Errorf("error %v, and the log is %q; want a warning", err, &log)
	}
	if err := to("inline"); err != nil || log.Len() > 0 {
		t.Errorf("error %v, and the log is %q; want neither", err, &log)
	}
}
