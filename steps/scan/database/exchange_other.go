//go:build !linux

package database

import "errors"

// exchange swaps the names a and b; not here.
func exchange(_, _ string) error { return errors.ErrUnsupported }
