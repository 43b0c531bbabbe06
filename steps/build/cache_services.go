package build

import (
	"errors"
	"strconv"

	"github.com/moby/buildkit/client"

	"github.com/imagewright/imagewright/internal/fault"
)

// addGitHub adds the address of GitHub's cache and the job's token for it. A
// builder reads no environment but its own, so they go with the build.
//
// https://github.com/moby/buildkit/blob/v0.34.2/cmd/buildctl/build/util.go
func addGitHub(attrs map[string]string, getenv func(string) string) error {
	token, results := getenv("ACTIONS_RUNTIME_TOKEN"), getenv("ACTIONS_RESULTS_URL")
	first := getenv("ACTIONS_CACHE_URL")
	second, _ := strconv.ParseBool(getenv("ACTIONS_CACHE_SERVICE_V2"))
	if token == "" || results == "" && first == "" {
		hint := "use type=registry or type=local"
		if getenv("GITHUB_ACTIONS") == "true" {
			hint = "GitHub gives them to actions, not to run: use the action imagewright/imagewright/actions/build, or hand them on with actions/github-script"
		}
		return fault.Usage(errors.New("type=gha needs GitHub's cache service: ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL are not set"), hint)
	}
	attrs["token"] = token
	switch {
	case second && results != "":
		attrs["url_v2"] = results
	case first != "":
		attrs["url"] = first // an Enterprise Server of before 2025
	default:
		attrs["url_v2"] = results // the first service is switched off on github.com
	}
	return nil
}

// addAWS adds what AWS's own tools would take from the environment. The machine's
// role, if it has one, needs nothing.
func addAWS(attrs map[string]string, getenv func(string) string) error {
	addMissing(attrs, getenv, map[string]string{"bucket": "AWS_BUCKET", "region": "AWS_REGION"})
	if attrs["access_key_id"] == "" && attrs["secret_access_key"] == "" {
		addMissing(attrs, getenv, map[string]string{
			"access_key_id":     "AWS_ACCESS_KEY_ID",
			"secret_access_key": "AWS_SECRET_ACCESS_KEY",
			"session_token":     "AWS_SESSION_TOKEN",
		})
	}
	if (attrs["access_key_id"] == "") != (attrs["secret_access_key"] == "") {
		return errors.New("of access_key_id and secret_access_key one is missing")
	}
	return nil
}

// addAzure adds what BuildKit would take from the builder's environment.
func addAzure(attrs map[string]string, getenv func(string) string) error {
	addMissing(attrs, getenv, map[string]string{
		"account_url":  "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL",
		"account_name": "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME",
		"container":    "BUILDKIT_AZURE_STORAGE_CONTAINER",
		"prefix":       "BUILDKIT_AZURE_STORAGE_PREFIX",
	})
	return nil
}

func addMissing(attrs map[string]string, getenv func(string) string, variables map[string]string) {
	for key, variable := range variables {
		if value := getenv(variable); attrs[key] == "" && value != "" {
			attrs[key] = value
		}
	}
}

// cacheSecrets are the values in entries that nobody may see.
func cacheSecrets(entries ...client.CacheOptionsEntry) []string {
	var values []string
	for _, entry := range entries {
		for _, key := range []string{"token", "secret_access_key", "session_token"} {
			if value := entry.Attrs[key]; value != "" {
				values = append(values, value)
			}
		}
	}
	return values
}
