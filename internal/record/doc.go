// Package record is what the steps of one pipeline tell each other about an
// image: one file per step, .imagewright/record/<step>.json. A step writes its
// own and reads the others', so parallel jobs never overwrite each other.
//
// Format: docs/record.md, version 1.
package record
