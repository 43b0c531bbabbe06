// Command imagewright-push sends the recorded image to its registries.
package main

import (
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/push"
)

func main() { step.Main(&push.Step{}) }
