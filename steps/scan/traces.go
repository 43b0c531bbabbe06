package scan

import (
	"regexp"
	"strings"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/imagewright/imagewright/internal/finding"
)

// traces tell of one image which layer something came with, and what became of
// it. nil knows of no layer.
type traces struct {
	layers  ftypes.Layers  // bottom up
	removed map[fileIn]int // by which layer; 1 is the lowest

	// discreet keeps instructions to their first word, because one of them may
	// hold the secret that was found in the image's history.
	discreet bool
}

// fileIn is a file as a layer has it.
type fileIn struct{ path, layer string }

// place says which layer a finding belongs to.
func (t *traces) place(p *finding.Place, layer ftypes.Layer) {
	p.Layer = layer.DiffID
	if t == nil {
		return
	}
	for i, l := range t.layers {
		if l.DiffID == layer.DiffID {
			p.LayerNumber, p.Instruction = i+1, instruction(l.CreatedBy)
			if t.discreet {
				p.Instruction, _, _ = strings.Cut(p.Instruction, " ")
			}
			return
		}
	}
}

// forgetInstructions takes out of secrets what made their layers; see discreet.
func forgetInstructions(secrets []types.DetectedSecret) {
	for i := range secrets {
		secrets[i].Layer.CreatedBy = ""
	}
}

// removedBy returns the number of the layer that removes the file at path, which
// came with layer; 0 for none.
func (t *traces) removedBy(path, layer string) int {
	if t == nil {
		return 0
	}
	return t.removed[fileIn{path, layer}]
}

// What builders add to an instruction in an image's history.
var (
	ofBuildKit = regexp.MustCompile(`\s*# buildkit$`)
	// The values of build arguments, which everybody uses for tokens and nobody
	// should see in a log: RUN |1 TOKEN=… /bin/sh -c make
	buildArguments = regexp.MustCompile(`^(RUN )?\|\d+ .*?(/bin/(ba)?sh .*?-c |$)`)
)

// instruction is a line of an image's history as the Dockerfile has it, about.
func instruction(createdBy string) string {
	line := ofBuildKit.ReplaceAllString(strings.Join(strings.Fields(createdBy), " "), "")
	line = buildArguments.ReplaceAllString(line, "RUN ")
	return strings.Replace(line, "RUN /bin/sh -c ", "RUN ", 1)
}
