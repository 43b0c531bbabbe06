package build

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"

	"github.com/imagewright/imagewright/internal/fault"
)

func TestCacheRecordsBecomeEntries(t *testing.T) {
	abs := func(path string) string { return "/checkout/" + path }
	for _, tc := range []struct {
		input, record string
		want          client.CacheOptionsEntry
	}{
		{"cache-from", "type=registry,ref=ghcr.io/acme/app:cache", client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": "ghcr.io/acme/app:cache"}}},
		{"cache-from", "ghcr.io/acme/app:cache", client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": "ghcr.io/acme/app:cache"}}},
		{"cache-from", "type=local,src=cache", client.CacheOptionsEntry{Type: "local", Attrs: map[string]string{"src": "/checkout/cache"}}},
		{"cache-to", `type=local,"dest=with,comma",MODE=max`, client.CacheOptionsEntry{Type: "local", Attrs: map[string]string{"dest": "/checkout/with,comma", "mode": "max"}}},
	} {
		got, err := cacheEntries(tc.input, []string{tc.record}, abs)
		if err != nil {
			t.Errorf("%s %q: %v", tc.input, tc.record, err)
			continue
		}
		if diff := cmp.Diff([]client.CacheOptionsEntry{tc.want}, got); diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", tc.input, tc.record, diff)
		}
	}
}

func TestWhatBuildKitWouldIgnoreIsAUsageError(t *testing.T) {
	for _, tc := range []struct {
		name, input string
		records     []string
		want        string
	}{
		{"misspelt mode", "cache-to", []string{"type=registry,ref=r/a,mode=Max"}, `attribute mode: "Max" is not accepted; want min or max`},
		{"misspelt attribute", "cache-to", []string{"type=registry,ref=r/a,ignore-errors=true"}, "attribute ignore-errors is not known"},
		{"mode where a cache is read", "cache-from", []string{"type=registry,ref=r/a,mode=max"}, "attribute mode is not known"},
		{"unknown type", "cache-to", []string{"type=inline"}, `type "inline" is not accepted; want registry or local`},
		{"no type", "cache-to", []string{"ref=r/a,mode=max"}, `type "" is not accepted`},
		{"no reference", "cache-from", []string{"type=registry"}, "attribute ref is missing"},
		{"bad reference", "cache-from", []string{"type=registry,ref=acme/UPPER"}, "is not an image reference"},
		{"no directory", "cache-to", []string{"type=local"}, "attribute dest is missing"},
		{"src where a cache is written", "cache-to", []string{"type=local,src=x"}, "attribute src is not known"},
		{"attribute twice", "cache-to", []string{"type=local,dest=x,dest=y"}, "given twice"},
		{"no boolean", "cache-to", []string{"type=local,dest=x,ignore-error=maybe"}, "want true or false"},
		{"a compression that makes other layers", "cache-to", []string{"type=local,dest=x,compression=zstd"}, "attribute compression is not known"},
		{"another type, with its key", "cache-to", []string{"type=s3,secret_access_key=c4n4ry"}, "want registry or local"},
		{"a key alone", "cache-to", []string{"type=local,c4n4ry"}, "an attribute has no value"},
		{"two caches in one place", "cache-to", []string{"type=local,dest=x", "type=local,dest=x,mode=max"}, "already written there"},
		{"no value", "cache-to", []string{"type=local,dest"}, "an attribute has no value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := cacheEntries(tc.input, tc.records, func(path string) string { return path })
			if strings.Contains(fmt.Sprint(err), "c4n4ry") {
				t.Errorf("%s: the error shows a key: %v", tc.input, err)
			}
			if fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s %q: error %v (exit code %d), want exit code 2 and %q", tc.input, tc.records, err, fault.Code(err), tc.want)
			}
		})
	}
}
