// Command imagewright-scan finds known vulnerabilities in an image and decides
// whether it may go on.
package main

import (
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/scan"
)

func main() { step.Main(&scan.Step{}) }
