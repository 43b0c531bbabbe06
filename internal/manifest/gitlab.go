package manifest

import (
	"fmt"
	"slices"

	"github.com/imagewright/imagewright/internal/input"
)

// stageOf is the stage a job runs in unless the user says another: GitLab's own
// stages, because a template must not set global ones.
func stageOf(step string) string {
	switch step {
	case "build":
		return "build"
	case "scan", "tag":
		return "test"
	}
	return "deploy"
}

// template is the include of one step: its header of inputs and its job.
// https://docs.gitlab.com/ci/inputs/
func template(s Step, image string) ([]byte, error) {
	inputs := mapping{entry("stage", mapping{entry("description", "Stage of the job."), entry("default", stageOf(s.Name))})}
	for _, in := range s.Inputs {
		if offered(in) {
			inputs = append(inputs, entry(in.Name, specOf(in)))
		}
	}
	own := func(in input.Input) string { return in.Name }
	return withHeader(inputs, mapping{entry("imagewright-"+s.Name, job(s, image, "$[[ inputs.stage ]]", nil, own))}, secretsNote([]Step{s}))
}

// template is the include of the whole pipeline.
func (p *pipeline) template(release Release) ([]byte, error) {
	inputs, jobs := mapping{}, mapping{}
	p.each(func(name string, in input.Input) {
		switch {
		case name == "images": // a pipeline is there to push
			inputs = append(inputs, entry(name, mapping{entry("description", describe(in))}))
		case offered(in):
			inputs = append(inputs, entry(name, specOf(in)))
		}
	})
	var before []mapping
	for _, s := range p.steps {
		own := func(in input.Input) string { return p.input(s, in) }
		needs := slices.Clone(before)
		if s.Name == "prune" {
			needs = []mapping{} // it needs no image: it starts at once
		}
		jobs = append(jobs, entry("imagewright-"+s.Name, job(s, release.Images[s.Name], stageOf(s.Name), needs, own)))
		before = append(before, mapping{entry("job", "imagewright-"+s.Name), entry("artifacts", true)})
	}
	return withHeader(inputs, jobs, secretsNote(p.steps))
}

// offered tells whether a template has the input. Secrets would enter the
// stored configuration. The workspace's place is fixed: artifacts name it.
func offered(in input.Input) bool { return !in.Secret && in.Name != "dir" }

// specOf is an optional input. Without a default it would be mandatory, so it
// has the empty one, which the step takes for unset. For the same reason truth
// values and numbers are strings.
func specOf(in input.Input) mapping {
	spec := mapping{entry("description", describe(in)), entry("default", "")}
	switch {
	case in.Kind == input.Bool:
		spec = append(spec, entry("options", []string{"", "true", "false"}))
	case len(in.Enum) > 0 && in.Kind == input.String:
		options := in.Enum
		if !slices.Contains(options, "") {
			options = append([]string{""}, options...)
		}
		spec = append(spec, entry("options", options))
	}
	return spec
}

// job runs s. Inputs travel as variables, never inside the script, where they
// would be shell code.
func job(s Step, image, stage string, needs []mapping, nameOf func(input.Input) string) mapping {
	variables := mapping{}
	for _, in := range s.Inputs {
		if offered(in) {
			variables = append(variables, entry(in.EnvNames(s.Name)[0], fmt.Sprintf("$[[ inputs.%s ]]", nameOf(in))))
		}
	}
	doc := mapping{
		entry("stage", stage),
		entry("image", mapping{entry("name", image), entry("entrypoint", []string{""})}),
	}
	if needs != nil {
		doc = append(doc, entry("needs", needs))
	}
	if s.Name == "prune" {
		doc = append(doc, entry("rules", []mapping{{entry("if", pruneRule(nameOf))}}))
	}
	reports := mapping{entry("dotenv", ".imagewright/"+s.Name+".env")}
	for kind, path := range s.Reports { // at most one a step today
		reports = append(reports, entry(kind, ".imagewright/"+path))
	}
	artifacts := mapping{entry("when", "always"), entry("expire_in", "1 day")}
	if s.Name == "build" { // later jobs have the image from this one; plain, its layers are larger than it
		artifacts = append(artifacts, entry("paths", []string{".imagewright/"}), entry("exclude", []string{".imagewright/layers/**/*"}))
	} else {
		artifacts = append(artifacts, entry("paths", []string{".imagewright/record/", ".imagewright/reports/", ".imagewright/*.env"}))
	}
	return append(doc,
		entry("variables", variables),
		entry("script", []string{"imagewright-" + s.Name}),
		entry("artifacts", append(artifacts, entry("reports", reports))))
}

// pruneRule lets prune run on a schedule, and only where the user said which
// command.
func pruneRule(nameOf func(input.Input) string) string {
	return fmt.Sprintf(`$CI_PIPELINE_SOURCE == "schedule" && "$[[ inputs.%s ]]" != ""`, nameOf(input.Input{Name: "command"}))
}

// secretsNote says where the secrets of steps come from.
func secretsNote(steps []Step) string {
	note := ""
	for _, s := range steps {
		for _, in := range s.Inputs {
			if in.Secret {
				note += fmt.Sprintf("#   %s: %s\n", in.EnvNames(s.Name)[0], in.Help)
			}
		}
	}
	if note == "" {
		return ""
	}
	return "# Secrets are masked CI/CD variables of the project, never inputs:\n" + note
}

// withHeader is a template: the inputs, a document separator, the jobs.
func withHeader(inputs, jobs mapping, comment string) ([]byte, error) {
	head, err := document(mapping{entry("spec", mapping{entry("inputs", inputs)})}, comment)
	if err != nil {
		return nil, err
	}
	body, err := document(jobs, "")
	if err != nil {
		return nil, err
	}
	return slices.Concat(head, []byte("---\n"), body[len(generated):]), nil
}
