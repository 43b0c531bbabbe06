package analysis

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/aquasecurity/trivy/pkg/dependency/parser/ruby/gemspec"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const nameGem = "gemspec"

// Bounds of a gem's specification, which RubyGems writes when it installs one:
// a line for each dependency. Each line is compared with a name in the file that
// can be as long as a line.
const (
	maxGem      = 1 << 20 // bytes
	maxGemLines = 20_000
)

// gemSpecification reports whether p is that of an installed gem. A gem's own
// gemspec, in its source, is none: it can compute its version.
func gemSpecification(p string) bool {
	_, name, ok := strings.Cut(p, "/specifications/")
	return ok && strings.LastIndex(name, ".gemspec") > 0
}

func (l *layer) gem(ctx context.Context, p string, c *content) error {
	if c.size > maxGem {
		return tooLarge(c.size, maxGem)
	}
	data, err := c.bytes()
	if err != nil {
		return err
	}
	if n := bytes.Count(data, []byte("\n")); n > maxGemLines {
		return fmt.Errorf("%w: %d lines, more than %d", errTooLarge, n, maxGemLines)
	}
	return l.application(ctx, ftypes.GemSpec, nameGem, p, p, c, gemspec.NewParser())
}
