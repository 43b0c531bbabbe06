package manifest

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/imagewright/imagewright/internal/input"
)

// action is the container action of one step. The runner sets INPUT_<NAME>, so
// the program needs no arguments.
// https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax
func action(s Step, image string) mapping {
	inputs := mapping{}
	for _, in := range s.Inputs {
		inputs = append(inputs, entry(in.Name, inputOf(in)))
	}
	doc := mapping{
		entry("name", "Imagewright "+s.Name),
		entry("description", s.Summary),
		entry("inputs", inputs),
	}
	if len(s.Outputs) > 0 {
		outputs := mapping{}
		for _, o := range s.Outputs {
			outputs = append(outputs, entry(o.Name, mapping{entry("description", o.Help)}))
		}
		doc = append(doc, entry("outputs", outputs))
	}
	return append(doc, entry("runs", mapping{entry("using", "docker"), entry("image", "docker://"+image)}))
}

func inputOf(in input.Input) mapping {
	return mapping{entry("description", describe(in)), entry("required", false)}
}

// pipeline is all steps as one: each input has one name in it.
type pipeline struct {
	steps []Step
	names map[string]int // how many steps have an input or output of this name
}

func newPipeline(steps []Step) *pipeline {
	p := &pipeline{steps: steps, names: map[string]int{}}
	for _, s := range steps {
		for _, in := range s.Inputs {
			p.names[in.Name]++
		}
		for _, o := range s.Outputs {
			p.names["output "+o.Name]++
		}
	}
	return p
}

// input is the name of a step's input in the pipeline: its own, or with the
// step before it where several steps have one of that name, so that no step
// sees another's credentials. What every step has is given once. Prune is no
// part of making an image, so its inputs always say whose they are.
func (p *pipeline) input(s Step, in input.Input) string {
	switch {
	case isCommon(in.Name):
		return in.Name
	case p.names[in.Name] > 1, s.Name == "prune":
		return s.Name + "-" + in.Name
	}
	return in.Name
}

func (p *pipeline) output(s Step, name string) string {
	if p.names["output "+name] > 1 || s.Name == "prune" {
		return s.Name + "-" + name
	}
	return name
}

// each calls f for every input of the pipeline once, in its order.
func (p *pipeline) each(f func(name string, in input.Input)) {
	seen := map[string]bool{}
	for _, s := range p.steps {
		for _, in := range s.Inputs {
			if name := p.input(s, in); !seen[name] {
				seen[name] = true
				f(name, in)
			}
		}
	}
}

// action is the whole pipeline as one composite action of the steps' actions.
// They are named by repository: "./" would point into the user's workspace.
func (p *pipeline) action(release Release) mapping {
	inputs, outputs, steps := mapping{}, mapping{}, []mapping{}
	p.each(func(name string, in input.Input) { inputs = append(inputs, entry(name, inputOf(in))) })
	for _, s := range p.steps {
		for _, o := range s.Outputs {
			outputs = append(outputs, entry(p.output(s, o.Name), mapping{
				entry("description", o.Help),
				entry("value", fmt.Sprintf("${{ steps.%s.outputs.%s }}", s.Name, o.Name)),
			}))
		}
		steps = append(steps, p.compositeStep(s, release.Version))
	}
	return mapping{
		entry("name", "Imagewright"),
		entry("description", "Builds an image, scans it, names it and pushes what was scanned. Each step sees its own inputs only."),
		entry("inputs", inputs),
		entry("outputs", outputs),
		entry("runs", mapping{entry("using", "composite"), entry("steps", steps)}),
	}
}

// compositeStep calls the action of s with the pipeline's inputs that are its
// own. Prune runs only where the user named what to prune.
func (p *pipeline) compositeStep(s Step, version string) mapping {
	with := mapping{}
	for _, in := range s.Inputs {
		with = append(with, entry(in.Name, fmt.Sprintf("${{ inputs.%s }}", p.input(s, in))))
	}
	step := mapping{entry("id", s.Name)}
	if condition := p.condition(s); condition != "" {
		step = append(step, entry("if", condition))
	}
	step = append(step, entry("uses", "imagewright/imagewright/actions/"+s.Name+"@"+version))
	if s.Token {
		step = append(step, entry("env", mapping{entry("GITHUB_TOKEN", "${{ github.token }}")}))
	}
	return append(step, entry("with", with))
}

// condition is when the pipeline runs s: without a place to push to, it ends
// with the scan; without a repository to prune, nothing is pruned.
func (p *pipeline) condition(s Step) string {
	for _, in := range s.Inputs {
		if s.Name == "prune" && in.Name == "repositories" || s.Name == "push" && in.Name == "images" {
			return fmt.Sprintf("inputs.%s != ''", p.input(s, in))
		}
	}
	return ""
}

// Workflow is a workflow that calls every step's action with every input, for
// a linter to check the actions by: linters find unknown inputs of "./" actions.
func Workflow(steps []Step) ([]byte, error) {
	calls := []mapping{{entry("uses", "actions/checkout@v4")}}
	for _, s := range steps {
		with := mapping{}
		for _, in := range s.Inputs {
			with = append(with, entry(in.Name, "x"))
		}
		calls = append(calls, mapping{entry("id", s.Name), entry("uses", "./actions/"+s.Name), entry("with", with)})
		for _, o := range s.Outputs {
			calls = append(calls, mapping{entry("run", fmt.Sprintf("echo '${{ steps.%s.outputs.%s }}'", s.Name, o.Name))})
		}
	}
	all := mapping{}
	newPipeline(steps).each(func(name string, _ input.Input) { all = append(all, entry(name, "x")) })
	calls = append(calls, mapping{entry("uses", "./"), entry("with", all)})
	data, err := yaml.MarshalWithOptions(mapping{
		entry("on", "push"),
		entry("jobs", mapping{entry("all", mapping{entry("runs-on", "ubuntu-latest"), entry("steps", calls)})}),
	}, yaml.IndentSequence(true))
	return []byte(strings.TrimSpace(string(data)) + "\n"), err
}
