//go:build !goexperiment.jsonv2

package step

// Trivy and the records need encoding/json/v2. This import fails the build
// early with a line that says so.
import _ "GOEXPERIMENT=jsonv2 is not set; use make, or export it"
