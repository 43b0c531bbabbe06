// Package parser reads images in a process of its own.
//
// Whoever reads what strangers wrote, or runs code that strangers maintain, may
// one day act for them. So the program runs itself again, without environment
// and network, and with no file but the descriptors it is handed (see package
// sandbox). That process, the parser, decompresses and walks layers, looks for
// secrets, matches packages with the vulnerability database and writes SBOMs:
// no function of Trivy runs anywhere else. The process that has credentials
// fetches, asks, and reads answers.
//
// A parser that breaks, or is killed by a limit, is an error of the call that
// was waiting for it.
package parser

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"runtime/debug"
	"time"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/steps/scan/analysis"
	"github.com/imagewright/imagewright/steps/scan/sandbox"
	"github.com/imagewright/imagewright/steps/scan/secret"
)

// Options of [Start].
type Options struct {
	Sandbox sandbox.Mode
	// TempDir is where the parser's scratch directory is made; it holds files
	// too large for memory while they are looked into. Default: the system's.
	TempDir string
	// MaxMemory bounds the parser's memory, in bytes. Default: 4 GiB.
	MaxMemory int64
	// MaxCPU bounds the time that the parser computes, on all processors
	// together. Default: no bound.
	MaxCPU time.Duration

	Rules Rules
}

// Rules decide what is looked for in a layer, and so belong to what a cached
// result depends on.
type Rules struct {
	Secrets      bool     `json:"secrets,omitempty"`
	SecretConfig []byte   `json:"secretConfig,omitempty"` // of trivy-secret.yaml
	SkipDirs     []string `json:"skipDirs,omitempty"`     // globs, without leading slash
	SkipFiles    []string `json:"skipFiles,omitempty"`
}

// Key stands for all that an answer about a layer depends on beside the layer:
// the rules, and the versions of who applies them. It is a file name.
func (r Rules) Key() string {
	sum := sha256.New()
	// A struct of strings is always encoded.
	_ = json.NewEncoder(sum).Encode(struct {
		Rules            Rules
		Analysis, Secret int
		Program, Trivy   string
	}{r, analysis.Version, secret.Version, step.Version(), trivyVersion()})
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// trivyVersion is that of the Trivy in this program.
func trivyVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/aquasecurity/trivy" {
			return module.Version
		}
	}
	return ""
}

// Blob is a layer to read. Its digests are checked as it is read.
type Blob struct {
	Descriptor v1.Descriptor `json:"descriptor"`
	DiffID     v1.Hash       `json:"diffID"`
}

// Image is an image whose layers the parser has read or been given.
type Image struct {
	Name   string          `json:"name"`             // as the results call it
	Config json.RawMessage `json:"config"`           // its configuration, as it is stored
	Layers []v1.Descriptor `json:"layers"`           // of the manifest
	MadeUp bool            `json:"madeUp,omitempty"` // that manifest: the image came without one

	Vulnerabilities bool     `json:"vulnerabilities,omitempty"` // needs the database
	PkgTypes        []string `json:"pkgTypes,omitempty"`        // see detection.Options
}

// Report is what an image holds and what is wrong with it.
type Report struct {
	Answer json.RawMessage `json:"-"` // this report as it came, to be kept

	OS        ftypes.OS     `json:"os"`        // zero: none known
	EndOfLife bool          `json:"endOfLife"` // it gets no security updates any more
	Layers    ftypes.Layers `json:"layers"`    // bottom up

	Packages       int `json:"packages"`
	SystemPackages int `json:"systemPackages"` // those of the distribution

	// Results are Trivy's: of the distribution's packages, of each application,
	// and of each file with secrets.
	Results types.Results `json:"results"`

	Sensitive    []analysis.SensitiveFile `json:"sensitive,omitempty"`
	Removed      []analysis.Removed       `json:"removed,omitempty"` // files with secrets
	Unidentified []analysis.Unidentified  `json:"unidentified,omitempty"`
	NeedsIndex   bool                     `json:"needsIndex,omitempty"` // an index of Java archives could tell more, and none was opened
	Problems     []analysis.Problem       `json:"problems,omitempty"`
}

// Limits of the exchange with the parser.
const (
	// maxRequest bounds what a request carries beside descriptors, bytes: a
	// message of its socket has to hold it.
	maxRequest = 64 << 10
	// maxBody bounds documents in both directions, bytes. The results of an
	// image with 100,000 packages take some 100 MB; who reads them needs three
	// times that.
	maxBody = 512 << 20
	// defaultMemory is what a parser gets, bytes. The largest images measured
	// need a tenth.
	defaultMemory = 4 << 30
	// maxStack is what one goroutine may use to call itself, bytes. Go's own bound
	// is sixteen times that; what is read goes some hundred deep.
	maxStack = 64 << 20
	// maxScratch bounds a file in the scratch directory, bytes.
	maxScratch = 8 << 30
	// maxLayer bounds a layer's tar, and the files in it, bytes.
	maxLayer = 64 << 30
	// startTimeout is for a parser to say that it is ready.
	startTimeout = 30 * time.Second
)
