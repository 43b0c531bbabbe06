package scan

import (
	"os"
	"testing"

	"github.com/imagewright/imagewright/steps/scan/parser"
)

func TestMain(m *testing.M) {
	parser.ServeIfChild() // the scanner runs its program again, which is this one
	os.Exit(m.Run())
}
