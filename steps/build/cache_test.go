package build

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/fault"
)

// cached are surroundings with these variables.
func cached(environ map[string]string) surroundings {
	return surroundings{dir: "/checkout", getenv: func(name string) string { return environ[name] }}
}

// onGitHub are the variables that GitHub's runner gives to actions.
var onGitHub = map[string]string{
	"GITHUB_ACTIONS": "true", "ACTIONS_RUNTIME_TOKEN": "t0ken", "ACTIONS_CACHE_SERVICE_V2": "True",
	"ACTIONS_RESULTS_URL": "https://results.example/", "ACTIONS_CACHE_URL": "https://first.example/",
}

func TestCacheRecordsBecomeEntries(t *testing.T) {
	for _, tc := range []struct {
		input, record string
		environ       map[string]string
		want          client.CacheOptionsEntry
	}{
		{"cache-from", "type=registry,ref=ghcr.io/acme/app:cache", nil, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": "ghcr.io/acme/app:cache"}}},
		{"cache-from", "ghcr.io/acme/app:cache", nil, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": "ghcr.io/acme/app:cache"}}},
		{"cache-from", "type=local,src=cache", nil, client.CacheOptionsEntry{Type: "local", Attrs: map[string]string{"src": "/checkout/cache"}}},
		{"cache-to", `type=local,"dest=with,comma",MODE=max`, nil, client.CacheOptionsEntry{Type: "local", Attrs: map[string]string{"dest": "/checkout/with,comma", "mode": "max"}}},
		{"cache-to", "type=inline", nil, client.CacheOptionsEntry{Type: "inline", Attrs: map[string]string{}}},
		{"cache-from", "type=gha,scope=main", onGitHub, client.CacheOptionsEntry{Type: "gha", Attrs: map[string]string{"scope": "main", "token": "t0ken", "url_v2": "https://results.example/"}}},
		{"cache-to", "type=gha,mode=max,timeout=2m", onGitHub, client.CacheOptionsEntry{Type: "gha", Attrs: map[string]string{"mode": "max", "timeout": "2m", "ignore-error": "true", "token": "t0ken", "url_v2": "https://results.example/"}}},
		{"cache-to", "type=gha,ignore-error=false", map[string]string{"ACTIONS_RUNTIME_TOKEN": "t0ken", "ACTIONS_CACHE_URL": "https://ghes.example/"},
			client.CacheOptionsEntry{Type: "gha", Attrs: map[string]string{"ignore-error": "false", "token": "t0ken", "url": "https://ghes.example/"}}},
	} {
		got, err := cacheEntries(tc.input, []string{tc.record}, cached(tc.environ))
		if err != nil {
			t.Errorf("%s %q: %v", tc.input, tc.record, err)
			continue
		}
		if diff := cmp.Diff([]client.CacheOptionsEntry{tc.want}, got); diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", tc.input, tc.record, diff)
		}
	}
}

func TestTheCloudsCachesTakeTheirCredentialsFromTheEnvironment(t *testing.T) {
	environ := map[string]string{"AWS_REGION": "eu-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_SESSION_TOKEN": "s3ssion",
		"BUILDKIT_AZURE_STORAGE_ACCOUNT_URL": "https://acme.blob.example"}
	for _, tc := range []struct {
		record  string
		want    map[string]string
		secrets []string
	}{
		{"type=s3,bucket=b", map[string]string{"bucket": "b", "region": "eu-1", "access_key_id": "id", "secret_access_key": "s3cret", "session_token": "s3ssion"}, []string{"s3cret", "s3ssion"}},
		{"type=s3,bucket=b,region=us-2,access_key_id=mine,secret_access_key=m1ne", map[string]string{"bucket": "b", "region": "us-2", "access_key_id": "mine", "secret_access_key": "m1ne"}, []string{"m1ne"}},
		{"type=azblob,secret_access_key=azur3", map[string]string{"account_url": "https://acme.blob.example", "secret_access_key": "azur3"}, []string{"azur3"}},
	} {
		entries, err := cacheEntries("cache-from", []string{tc.record}, cached(environ))
		if !buildkit.CloudCaches {
			if fault.Code(err) != fault.ExitUsage || !strings.Contains(fmt.Sprint(err), "not in this program") || !strings.Contains(fault.Hint(err), "-tags=caches") {
				t.Errorf("%s in a program without it: %v (hint %q); want the variant that has it", tc.record, err, fault.Hint(err))
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.record, err)
			continue
		}
		if diff := cmp.Diff(tc.want, entries[0].Attrs); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.record, diff)
		}
		if diff := cmp.Diff(tc.secrets, cacheSecrets(entries...)); diff != "" {
			t.Errorf("secrets of %s (-want +got):\n%s", tc.record, diff)
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
		{"unknown type", "cache-to", []string{"type=http"}, `type "http" is not accepted; want gha, inline, local or registry`},
		{"an image's own cache by its type", "cache-from", []string{"type=inline"}, "it is read as type=registry,ref=IMAGE"},
		{"a mode of an image's own cache", "cache-to", []string{"type=inline,mode=max"}, "attribute mode is not known"},
		{"no type", "cache-to", []string{"ref=r/a,mode=max"}, `type "" is not accepted`},
		{"no reference", "cache-from", []string{"type=registry"}, "attribute ref is missing"},
		{"bad reference", "cache-from", []string{"type=registry,ref=acme/UPPER"}, "is not an image reference"},
		{"no directory", "cache-to", []string{"type=local"}, "attribute dest is missing"},
		{"src where a cache is written", "cache-to", []string{"type=local,src=x"}, "attribute src is not known"},
		{"attribute twice", "cache-to", []string{"type=local,dest=x,dest=y"}, "given twice"},
		{"no boolean", "cache-to", []string{"type=local,dest=x,ignore-error=maybe"}, "want true or false"},
		{"a compression that makes other layers", "cache-to", []string{"type=local,dest=x,compression=zstd"}, "attribute compression is not known"},
		{"another type, with its key", "cache-to", []string{"type=s4,secret_access_key=c4n4ry"}, `type "s4" is not accepted`},
		{"a key alone", "cache-to", []string{"type=local,c4n4ry"}, "an attribute has no value"},
		{"two caches in one place", "cache-to", []string{"type=local,dest=x", "type=local,dest=x,mode=max"}, "already written there"},
		{"no value", "cache-to", []string{"type=local,dest"}, "an attribute has no value"},
		{"GitHub's cache elsewhere", "cache-from", []string{"type=gha"}, "ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL are not set"},
		{"a token where everybody sees it", "cache-from", []string{"type=gha,token=c4n4ry"}, "attribute token is not known"},
		{"no duration", "cache-to", []string{"type=gha,timeout=5"}, "want a time such as 5m"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := cacheEntries(tc.input, tc.records, cached(nil))
			if strings.Contains(fmt.Sprint(err), "c4n4ry") {
				t.Errorf("%s: the error shows a key: %v", tc.input, err)
			}
			want := tc.want
			if buildkit.CloudCaches {
				want = strings.Replace(want, "want gha, inline, local or registry", "want azblob, gha, inline, local, registry or s3", 1)
			}
			if fault.Code(err) != fault.ExitUsage || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %q: error %v (exit code %d), want exit code 2 and %q", tc.input, tc.records, err, fault.Code(err), want)
			}
		})
	}
}

func TestWithoutGitHubsCacheTheHintFitsThePlace(t *testing.T) {
	for _, tc := range []struct {
		environ map[string]string
		want    string
	}{
		{nil, "type=registry"},
		{map[string]string{"GITHUB_ACTIONS": "true"}, "not to run:"},
	} {
		_, err := cacheEntries("cache-to", []string{"type=gha"}, cached(tc.environ))
		if !strings.Contains(fault.Hint(err), tc.want) {
			t.Errorf("with %v the hint is %q, want %q", tc.environ, fault.Hint(err), tc.want)
		}
	}
}

// An address stands in the log and in errors, where nothing of it is hidden.
func TestAServicesAddressHoldsNoCredentials(t *testing.T) {
	for address, good := range map[string]bool{
		"https://acme.blob.core.windows.net":               true,
		"http://127.0.0.1:9000/cache":                      true,
		"https://me:s3cr3t@example.org":                    false,
		"https://acme.blob.core.windows.net/?sig=s3cr3t":   false,
		"acme.blob.core.windows.net":                       false,
		"ftp://example.org":                                false,
		"https://acme.blob.core.windows.net?sv=1&sig=abcd": false,
	} {
		err := isServiceURL(address)
		if (err == nil) != good {
			t.Errorf("%s: error %v, want it accepted: %v", address, err, good)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}
