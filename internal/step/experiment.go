//go:build !goexperiment.jsonv2

// Trivy and the records need encoding/json/v2. The name below ends a build
// without it early, in a line that says so.

package GOEXPERIMENT_jsonv2_is_not_set__use_make_or_export_it
