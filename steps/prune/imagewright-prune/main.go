// Command imagewright-prune deletes old images of a repository and nothing
// that is still needed.
package main

import (
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/prune"
)

func main() { step.Main(&prune.Step{}) }
