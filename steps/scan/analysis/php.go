//go:build goexperiment.jsonv2

package analysis

import (
	"bytes"
	"context"
	"slices"

	"github.com/aquasecurity/trivy/pkg/dependency/parser/php/composer"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const nameComposer = "composer-vendor"

// inComposer bounds an installed.json, which repeats each package's own
// composer.json.
var inComposer = bounds{size: 8 << 20, depth: 100, values: 1 << 20, text: 64 << 10}

// composerInstalled reads the installed.json that Composer keeps beside the
// packages it installed. Composer 1 wrote the list alone, without the object
// around it.
func (l *layer) composerInstalled(ctx context.Context, p string, c *content) error {
	data, err := inComposer.read(c)
	if err != nil {
		return err
	}
	if err := inComposer.checkJSON(data); err != nil {
		return err
	}
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
		data = slices.Concat([]byte(`{"packages":`), data, []byte("}"))
	}
	return l.application(ctx, ftypes.ComposerVendor, nameComposer, p, "", inMemory(data), composer.NewParser())
}

// inMemory makes a content of what is in memory already.
func inMemory(data []byte) *content {
	return &content{bytes.NewReader(data), int64(len(data)), func() error { return nil }}
}
