// Package step runs a step of the suite: it reads the inputs, asks the CI for
// its facts, masks the secrets, runs the step, and turns the result into
// outputs, a summary and an exit code. It knows nothing of images.
package step

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/imagewright/imagewright/internal/ci"
)

// Names are all steps, in the order of the pipeline. Each has a key in
// imagewright.yaml.
func Names() []string { return []string{"build", "scan", "tag", "push", "prune"} }

// Step is one program of the suite.
type Step interface {
	Declaration() Declaration
	// Inputs returns a pointer to the step's struct of inputs, which embeds
	// [Common]. It is filled before Run is called.
	Inputs() any
	// Run does the step's job. Its error decides the exit code by its type (see
	// internal/fault).
	Run(ctx context.Context, job *Job) error
}

// Declaration is what help, manifests and docs say of a step beside its inputs.
type Declaration struct {
	Name        string // push
	Summary     string // a sentence
	Description string // paragraphs for help and docs
	Commands    []Command
	Examples    []Example
	Outputs     []Output
	// Token says that the step talks to registries in the CI's own name: in the
	// pipeline action it alone gets GITHUB_TOKEN.
	Token bool
	// Reports are files below the workspace that GitLab takes as reports, by
	// GitLab's name of the kind: codequality → reports/build-codequality.json.
	Reports map[string]string
}

// Command is a verb of a step that has more than one. The step has an input
// named command, with the verbs as its enum.
type Command struct{ Name, Summary string }

// Example is a command line worth copying.
type Example struct{ Text, Command string }

// Output is a value that a step hands to later ones.
type Output struct{ Name, Help string }

// Common are the inputs of every step.
type Common struct {
	Dir        string `name:"dir" group:"Every step" default:".imagewright" placeholder:"DIR" help:"Workspace that the steps of a pipeline share, relative to the checkout."`
	Config     string `name:"config" group:"Every step" placeholder:"FILE" help:"Configuration file. Without it imagewright.yaml in the checkout is read, if there is one."`
	LogLevel   string `name:"log-level" harmless:"" group:"Every step" enum:"debug,info,warn,error" default:"info" help:"Least important lines to log."`
	CABundle   string `name:"ca-bundle" group:"Every step" placeholder:"FILE" help:"PEM file of certificate authorities to trust beside the system's."`
	HTTPProxy  string `name:"http-proxy" group:"Every step" placeholder:"URL" help:"Proxy for http addresses. Without it HTTP_PROXY counts."`
	HTTPSProxy string `name:"https-proxy" group:"Every step" placeholder:"URL" help:"Proxy for https addresses. Without it HTTPS_PROXY counts."`
	NoProxy    string `name:"no-proxy" group:"Every step" placeholder:"HOSTS" help:"Hosts to reach without a proxy, separated by commas. Without it NO_PROXY counts."`
}

func (c *Common) common() *Common { return c }

// Process is all of the process around it that a step may touch. A test hands
// it another.
type Process struct {
	Args    []string // without the program's name
	Environ []string // NAME=value
	Stdin   io.Reader
	Stdout  io.Writer // results
	Stderr  io.Writer // log
	Dir     string    // working directory, absolute: the checkout
}

// Getenv returns the value of a variable, "" when it is unset.
func (p *Process) Getenv(name string) string {
	value := ""
	for _, entry := range p.Environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v // the last one counts, as for a real process
		}
	}
	return value
}

// Abs returns path against the checkout.
func (p *Process) Abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.Dir, path)
}

// Job is what a running step has: the process, the workspace, the CI. Stdout,
// Stderr and Log mask every secret.
type Job struct {
	Process
	Workspace string // absolute path of .imagewright
	CI        ci.Context
	Log       *slog.Logger

	common  *Common
	emitter ci.Emitter
	mask    *masker
	hidden  io.Writer // standard error without masks: the CI is told there what to hide
	outputs []output
	summary strings.Builder
}

type output struct{ name, value string }

// Output sets an output. It is written when Run returns, also with an error;
// the last value of a name counts.
func (j *Job) Output(name, value string) { j.outputs = append(j.outputs, output{name, value}) }

// Summary adds Markdown to what the run's page shows. Text from images and
// Dockerfiles must be escaped in it.
func (j *Job) Summary(markdown string) { j.summary.WriteString(markdown) }

// Annotate puts a remark at a place in the checkout.
func (j *Job) Annotate(a ci.Annotation) { j.emitter.Annotate(a) }

// Mask hides a further secret, and each line of it, in the log, in results and
// in the CI's log.
func (j *Job) Mask(secret string) {
	j.mask.add(secret)
	j.emitter.Mask(secret)
}

// Group folds what is logged until end is called, where the CI can.
func (j *Job) Group(title string) (end func()) { return j.emitter.Group(title) }

// Untrusted returns a writer to the log for text from images and builds: no
// line of it can become a command of the CI.
func (j *Job) Untrusted() io.Writer { return j.emitter.Shield(j.Stderr) }

// UntrustedResult is Untrusted for results: CIs look for commands on standard
// output too.
func (j *Job) UntrustedResult() io.Writer { return j.emitter.Shield(j.Stdout) }

// Rel returns path as outputs and reports name it: relative to the checkout,
// because a container's own absolute paths mean nothing to the next step.
func (j *Job) Rel(path string) string {
	if rel, err := filepath.Rel(j.Dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// CABundle returns the path of the input ca-bundle, absolute; "" for none.
func (j *Job) CABundle() string {
	if j.common.CABundle == "" {
		return ""
	}
	return j.Abs(j.common.CABundle)
}

// Proxy tells which proxy a request goes through: the inputs', else the
// environment's.
func (j *Job) Proxy() func(*http.Request) (*url.URL, error) {
	either := func(input string, names ...string) string {
		for _, name := range names {
			if input == "" {
				input = j.Getenv(name)
			}
		}
		return input
	}
	config := httpproxy.Config{
		HTTPProxy:  either(j.common.HTTPProxy, "HTTP_PROXY", "http_proxy"),
		HTTPSProxy: either(j.common.HTTPSProxy, "HTTPS_PROXY", "https_proxy"),
		NoProxy:    either(j.common.NoProxy, "NO_PROXY", "no_proxy"),
	}
	proxy := config.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
}
