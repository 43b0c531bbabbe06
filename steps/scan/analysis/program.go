package analysis

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/aquasecurity/trivy/pkg/dependency/parser/golang/binary"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/imagewright/imagewright/internal/image"
)

const nameGoBinary = "gobinary"

// magicBytes is how much of a file tells a program from a script.
const magicBytes = 4

// maxVersionSymbol bounds the version string a program's symbol table points
// to (bytes): Trivy's parser allocates whatever size the table claims.
const maxVersionSymbol = 64 << 10

func executable(e image.Entry) bool {
	return e.Mode.Perm()&0o111 != 0 || path.Ext(e.Path) == ".exe"
}

// isProgram reports whether a file that starts with head may be a Go program:
// the formats debug/buildinfo reads.
func isProgram(head []byte) bool {
	for _, magic := range []string{
		"\x7fELF", "MZ", // Linux, Windows
		"\xfe\xed\xfa", "\xca\xfe\xba\xbe", "\xca\xfe\xba\xbf", // macOS
		"\x01\xdf", "\x01\xf7", // AIX
		"\x00\x00\x01\xeb", "\x00\x00\x8a\x97", "\x00\x00\x06\x47", // Plan 9
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	return len(head) == magicBytes && string(head[1:]) == "\xfa\xed\xfe" // macOS, little-endian
}

// goBinary reads the modules that Go notes in what it builds.
func (l *layer) goBinary(ctx context.Context, p string, c *content) error {
	if err := symbolSizes(c); err != nil {
		return err
	}
	pkgs, deps, err := binary.NewParser().Parse(ctx, c)
	switch {
	case errors.Is(err, binary.ErrUnrecognizedExe), errors.Is(err, binary.ErrNonGoBinary):
		return nil
	case err != nil:
		return err
	}
	l.addApplication(ftypes.GoBinary, nameGoBinary, p, "", pkgs, deps)
	return nil
}

// symbolSizes refuses a program whose version symbols claim to be huge.
func symbolSizes(c *content) error {
	f, err := elf.NewFile(c)
	if err != nil {
		return nil // not ELF, and so not read for symbols
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil // stripped, as most programs of an image are
	}
	for _, s := range symbols {
		if strings.HasSuffix(s.Name, ".str") && s.Size > maxVersionSymbol {
			return fmt.Errorf("symbol %s claims %d bytes: %w", shorten(s.Name), s.Size, errTooLarge)
		}
	}
	return nil
}
