// Command imagewright-tag decides the names of the image: its version's, and
// latest where it is due.
package main

import (
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/tag"
)

func main() { step.Main(&tag.Step{}) }
