//go:build !goexperiment.jsonv2

// Records are read and written by encoding/json/v2. Without that experiment the
// name below, beside doc.go's, ends every build early and in one line that says
// so. This is the only package of ours that imports it.

package GOEXPERIMENT_jsonv2_is_not_set__use_make_or_export_it
