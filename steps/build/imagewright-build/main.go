// Command imagewright-build builds a Dockerfile into an image, with the BuildKit
// inside it: no daemon, no Docker.
package main

import (
	"github.com/imagewright/imagewright/internal/buildkit"
	"github.com/imagewright/imagewright/internal/buildkit/docker"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/build"
)

func main() {
	buildkit.ServeIfChild() // this program runs itself again as the engine
	docker.StdioIfAsked()   // and in a container beside one
	step.Main(&build.Step{})
}
