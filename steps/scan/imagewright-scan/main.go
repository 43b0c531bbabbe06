// Command imagewright-scan finds known vulnerabilities and secrets in an image and
// decides whether it may go on.
package main

import (
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/scan"
	"github.com/imagewright/imagewright/steps/scan/parser"
)

func main() {
	parser.ServeIfChild() // this program runs itself again to read the image
	step.Main(&scan.Step{})
}
