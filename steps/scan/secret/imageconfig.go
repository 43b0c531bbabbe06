package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// configPath is what Trivy calls an image's configuration.
const configPath = "config.json"

// Config scans an image's configuration: its environment, labels and history.
// Without findings it returns the zero Secret. Lines and offsets are those of
// the form Trivy gives the configuration before it looks: what is unknown to the
// OCI specification is left out, and each value stands in a line of its own.
func (s *Scanner) Config(ctx context.Context, configJSON []byte) (ftypes.Secret, error) {
	config, err := v1.ParseConfigFile(bytes.NewReader(configJSON))
	if err != nil {
		return ftypes.Secret{}, fmt.Errorf("look for secrets in the image's configuration: %w", err)
	}
	text, err := json.MarshalIndent(config, "  ", "")
	if err != nil {
		return ftypes.Secret{}, fmt.Errorf("look for secrets in the image's configuration: %w", err)
	}
	if allowsPath(s.rules.Allow, configPath) {
		return ftypes.Secret{}, nil
	}
	x := s.Session(ctx)
	x.small = len(text) <= bufferSize
	if err := x.cut(x.file(configPath, false), bytes.NewReader(text)); err != nil {
		return ftypes.Secret{}, fmt.Errorf("look for secrets in the image's configuration: %w", err)
	}
	found, err := x.Wait()
	if err != nil || len(found) == 0 {
		return ftypes.Secret{}, err
	}
	return found[0], nil
}
