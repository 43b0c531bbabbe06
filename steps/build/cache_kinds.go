package build

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/fault"
)

// cacheKind is a type of cache, in one direction.
type cacheKind struct {
	// attrs are those that are accepted. BuildKit ignores a misspelt one, and
	// takes a misspelt mode for min, without a word. Its compression attributes
	// are left out: a layer that comes from such a cache has other bytes than one
	// that is built, and so has the image.
	attrs  map[string]checkAttr
	needed []string // in the end

	// complete adds what comes from the environment; nil for nothing.
	complete func(attrs map[string]string, getenv func(string) string) error
}

// cacheKindOf returns the type of cache called name, to be written or read.
func cacheKindOf(name string, export bool) (cacheKind, error) {
	kinds := readableCaches()
	if export {
		kinds = writableCaches()
	}
	kind, ok := kinds[name]
	switch {
	case !ok && name == "inline":
		return kind, fault.Usage(errors.New("type=inline is in an image; it is read as type=registry,ref=IMAGE"), "")
	case !ok:
		return kind, fmt.Errorf("type %q is not accepted; want %s", name, oneOfThese(kinds))
	case isCloud(name) && !buildkit.CloudCaches:
		return kind, fault.Usage(fmt.Errorf("type=%s is not in this program: it takes one that is built with the tag caches", name),
			"go install -tags=caches github.com/imagewright/imagewright/steps/build/imagewright-build, or keep the cache in a registry")
	}
	return kind, nil
}

func oneOfThese(kinds map[string]cacheKind) string {
	var names []string
	for name := range kinds {
		if !isCloud(name) || buildkit.CloudCaches {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func isCloud(kind string) bool { return kind == "s3" || kind == "azblob" }

func readableCaches() map[string]cacheKind {
	return map[string]cacheKind{
		"registry": {attrs: map[string]checkAttr{"ref": isReference}, needed: []string{"ref"}},
		"local":    {attrs: map[string]checkAttr{"src": notEmpty, "tag": notEmpty, "digest": isDigest}, needed: []string{"src"}},
		"gha":      {attrs: ghaAttrs(), complete: addGitHub},
		"s3":       {attrs: s3Attrs(), needed: []string{"bucket", "region"}, complete: addAWS},
		"azblob":   {attrs: azblobAttrs(), needed: []string{"account_url"}, complete: addAzure},
	}
}

func writableCaches() map[string]cacheKind {
	kinds := readableCaches()
	kinds["local"] = cacheKind{attrs: map[string]checkAttr{"dest": notEmpty, "tag": notEmpty, "reset": isBool}, needed: []string{"dest"}}
	gha := kinds["gha"]
	gha.complete = func(attrs map[string]string, getenv func(string) string) error {
		// GitHub throttles its cache, and evicts it at will: a build is not worth
		// failing for it. https://github.com/docker/build-push-action/issues/594
		if attrs["ignore-error"] == "" {
			attrs["ignore-error"] = "true"
		}
		return addGitHub(attrs, getenv)
	}
	kinds["gha"] = gha
	for name, kind := range kinds {
		kind.attrs["mode"] = oneOf("min", "max")
		kind.attrs["ignore-error"] = isBool
		if name == "registry" || name == "local" {
			kind.attrs["oci-mediatypes"] = isBool
			kind.attrs["image-manifest"] = isBool
		}
	}
	kinds["s3"].attrs["touch_refresh"] = isDuration
	kinds["s3"].attrs["upload_parallelism"] = isCount
	kinds["inline"] = cacheKind{attrs: map[string]checkAttr{}}
	return kinds
}

func ghaAttrs() map[string]checkAttr {
	// Its token, address and version come from the runner.
	return map[string]checkAttr{"scope": notEmpty, "timeout": isDuration}
}

func s3Attrs() map[string]checkAttr {
	return map[string]checkAttr{
		"bucket": notEmpty, "region": notEmpty, "name": notEmpty,
		"prefix": notEmpty, "manifests_prefix": notEmpty, "blobs_prefix": notEmpty,
		"endpoint_url": isServiceURL, "use_path_style": isBool, "disable_accept_encoding": isBool,
		"access_key_id": notEmpty, "secret_access_key": notEmpty, "session_token": notEmpty,
		"retry_mode": oneOf("standard", "adaptive"), "retry_max_attempts": isCount,
	}
}

func azblobAttrs() map[string]checkAttr {
	return map[string]checkAttr{
		"account_url": isServiceURL, "account_name": notEmpty, "container": notEmpty, "name": notEmpty,
		"prefix": notEmpty, "manifests_prefix": notEmpty, "blobs_prefix": notEmpty,
		"secret_access_key": notEmpty,
	}
}

func isCount(value string) error {
	if n, err := strconv.Atoi(value); err != nil || n < 1 {
		return fmt.Errorf("%q is not accepted; want a number from 1", value)
	}
	return nil
}

func isDuration(value string) error {
	if d, err := time.ParseDuration(value); err != nil || d <= 0 {
		return fmt.Errorf("%q is not accepted; want a time such as 5m", value)
	}
	return nil
}

// isServiceURL does not show the value: a signature may stand in it.
func isServiceURL(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("it is not an address; want https://HOST")
	}
	if u.User != nil || u.RawQuery != "" { // a signature, as Azure has it
		return errors.New("it has credentials in it; they have attributes of their own")
	}
	return nil
}
