package input

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/imagewright/imagewright/internal/fault"
)

// Sources is where inputs come from, the strongest first.
type Sources struct {
	Step    string   // the step's name; picks its environment names
	Args    []string // flags
	Environ []string // NAME=value
	File    File     // the step's inputs in the configuration file
	// Untrusted says that File comes from a fork: only harmless inputs heed it.
	Untrusted bool
}

// Values is what Parse says beside the values.
type Values struct {
	Secrets  []string // the value of every secret input, to be masked
	Warnings []string // for the log
}

// Parse fills target, a pointer to a struct of inputs: flag over environment
// over imagewright.yaml over default. An empty variable is an unset one; an
// empty flag or YAML value means empty. Errors are usage errors: they name the
// input, the value and what would be accepted, and never a secret's value.
//
// Secrets are returned also with an error: what is printed next must be masked.
func Parse(target any, from Sources) (Values, error) {
	inputs, err := Describe(target)
	if err != nil {
		return Values{}, err
	}
	s := newSource(inputs, from)
	if err := s.check(); err != nil {
		return s.values, fault.Usage(err, "")
	}
	picked, err := s.fill(target)
	if err != nil || picked == "" || from.File.Name == "" {
		return s.values, err
	}
	// Which environment counts is known only now; it may be a flag that says it.
	if s.File.Inputs, err = s.under(picked); err != nil {
		return s.values, fault.Usage(err, "")
	}
	_, err = s.fill(target)
	return s.values, err
}

// fill reads the sources into target and returns the environment that they pick.
func (s *source) fill(target any) (picked string, err error) {
	fields, err := fieldsOf(target)
	if err != nil {
		return "", err
	}
	flags, err := readFlags(fields, s.Args)
	if err != nil {
		return "", fault.Usage(err, "")
	}
	for _, f := range fields {
		texts, given := flags[f.Name]
		if !given {
			if texts, err = s.texts(f.Input); err != nil {
				return "", err
			}
		}
		f.target.SetZero() // what an earlier call read
		for _, text := range texts {
			if err := f.set(text); err != nil {
				return "", err
			}
		}
		if f.Environment == pickEnvironment {
			picked = f.target.String()
		}
	}
	return picked, nil
}

// source knows what the environment and the file say.
type source struct {
	Sources
	inputs map[string]Input
	env    map[string]string
	values Values
}

func newSource(inputs []Input, from Sources) *source {
	s := &source{Sources: from, inputs: map[string]Input{}, env: map[string]string{}}
	for _, entry := range from.Environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			s.env[name] = value
		}
	}
	for _, in := range inputs {
		s.inputs[in.Name] = in
		if value, ok := s.fromEnv(in); ok && in.Secret {
			s.values.Secrets = append(s.values.Secrets, value)
		}
	}
	return s
}

// fromEnv returns the strongest variable that is set.
func (s *source) fromEnv(in Input) (string, bool) {
	for _, name := range in.EnvNames(s.Step) {
		if value := s.env[name]; value != "" {
			return value, true
		}
	}
	return "", false
}

// texts is what an input is read from that no flag gave: one text, or none.
func (s *source) texts(in Input) ([]string, error) {
	if value, ok := s.fromEnv(in); ok {
		return []string{value}, nil
	}
	if value, ok := s.File.Inputs[in.Name]; ok && value != nil && (!s.Untrusted || in.Harmless) {
		text, err := yamlText(in, value)
		return []string{text}, err
	}
	if in.Default != "" {
		return []string{in.Default}, nil
	}
	return nil, nil
}

// yamlText turns a YAML value into the text a flag would have. A list becomes a
// JSON array, which every list takes. What is nested is never printed: aliases
// make a terabyte of a few lines.
func yamlText(in Input, value any) (string, error) {
	switch reflect.ValueOf(value).Kind() {
	case reflect.Slice:
		if in.Kind != List {
			return "", &ValueError{in.Name, "", "one value, not a list"}
		}
		items := []string{}
		for _, item := range value.([]any) {
			if k := reflect.ValueOf(item).Kind(); k == reflect.Map || k == reflect.Slice {
				return "", &ValueError{in.Name, "", "a list of plain values"}
			}
			items = append(items, fmt.Sprint(item))
		}
		array, err := json.Marshal(items)
		return "json:" + string(array), err
	case reflect.Map:
		return "", &ValueError{in.Name, "", "a value or a list, not a map"}
	}
	return fmt.Sprint(value), nil
}

// check finds names that mean nothing, and secrets where everybody can read them.
func (s *source) check() error {
	for _, arg := range s.Args {
		if arg == "--" {
			break
		}
		if err := s.checkFlag(arg); err != nil {
			return err
		}
	}
	if err := s.checkEnviron(); err != nil {
		return err
	}
	if err := s.checkFile(); err != nil {
		return err
	}
	return s.checkEnvironments()
}

func (s *source) checkFlag(arg string) error {
	flag, ok := strings.CutPrefix(arg, "--")
	if !ok {
		return nil
	}
	name, _, _ := strings.Cut(flag, "=")
	in, known := s.inputs[name]
	if !known {
		if positive, ok := strings.CutPrefix(name, "no-"); ok && s.inputs[positive].Kind == Bool {
			return nil
		}
		return s.unknown("input", name)
	}
	if in.Secret {
		return fmt.Errorf("input %s: a secret on the command line can be read by every process; set %s instead", name, in.EnvNames(s.Step)[0])
	}
	return nil
}

func (s *source) checkEnviron() error {
	known := map[string]bool{}
	for _, in := range s.inputs {
		for _, name := range in.EnvNames(s.Step) {
			known[name] = true
		}
	}
	var unknown []string
	for name, value := range s.env {
		if known[name] || value == "" {
			continue
		}
		if key, ok := strings.CutPrefix(name, ownPrefix(s.Step)); ok {
			return s.unknown("variable", name, envStyle(key))
		}
		if strings.HasPrefix(name, "INPUT_") || strings.HasPrefix(name, "PLUGIN_") {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		s.values.Warnings = append(s.values.Warnings, fmt.Sprintf("variable %s sets no input of %s", name, s.Step))
	}
	return nil
}

func envStyle(key string) string { return strings.ReplaceAll(strings.ToLower(key), "_", "-") }

func (s *source) checkFile() error {
	for name := range s.File.Inputs {
		in, known := s.inputs[name]
		switch {
		case !known:
			return fmt.Errorf("%s: %w", s.File.Name, s.unknown("key", s.Step+"."+name, name))
		case in.Secret:
			return fmt.Errorf("%s: key %s.%s: a secret does not belong in a file of the repository; set %s instead",
				s.File.Name, s.Step, name, in.EnvNames(s.Step)[0])
		case s.Untrusted && !in.Harmless:
			s.values.Warnings = append(s.values.Warnings,
				fmt.Sprintf("%s: key %s.%s is ignored in a run for a fork", s.File.Name, s.Step, name))
		}
	}
	slices.Sort(s.values.Warnings)
	return nil
}

// minSimilarity is how alike two names must be for one to be proposed for the
// other; Levenshtein's ratio, 1 for equal.
const minSimilarity = 0.5

// unknown is the error for a name that no input has; like is what it is
// compared by, name itself if left out.
func (s *source) unknown(what, name string, like ...string) error {
	typed := append(like, name)[0]
	var nearest string
	best := minSimilarity
	for candidate, in := range s.inputs {
		if in.Hidden {
			continue
		}
		score := levenshtein.Similarity(typed, candidate, nil)
		if score > best || score == best && candidate < nearest {
			nearest, best = candidate, score
		}
	}
	if nearest == "" {
		return fmt.Errorf("unknown %s %q; see --help for the inputs of %s", what, name, s.Step)
	}
	if what == "variable" {
		nearest = s.inputs[nearest].EnvNames(s.Step)[0]
	}
	return fmt.Errorf("unknown %s %q; did you mean %s?", what, name, nearest)
}
