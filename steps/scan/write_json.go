//go:build goexperiment.jsonv2

package scan

import (
	"bufio"
	"encoding/json"
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"io"

	"github.com/aquasecurity/trivy/pkg/types"
)

// writeJSON writes Trivy's report, as it is encoded: some are very long.
func writeJSON(w io.Writer, r types.Report) error {
	b := bufio.NewWriterSize(&harmless{to: w}, 64<<10) // also into a file: people print it
	if err := jsonv2.MarshalWrite(b, r, json.DefaultOptionsV1(), jsontext.WithIndent("  ")); err != nil {
		return err
	}
	b.WriteByte('\n')
	return b.Flush()
}
