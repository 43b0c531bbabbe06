package input

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxShownNames bounds how many environments an error lists: the file may be a
// fork's.
const maxShownNames = 10

// under returns the inputs of the file with those of its environment name over
// them. One value replaces the other; a list with the tag environment:"append"
// goes on with the environment's items, because an environment says what is
// different, and to repeat every build argument in each would hide that.
func (s *source) under(name string) (map[string]any, error) {
	environment, ok := s.File.Environments[name]
	if !ok {
		return nil, s.noEnvironment(name)
	}
	inputs := maps.Clone(s.File.Inputs)
	if inputs == nil {
		inputs = map[string]any{}
	}
	for key, value := range environment {
		if value == nil {
			continue // not given
		}
		in := s.inputs[key]
		if own := inputs[key]; in.Environment == addsInEnvironment && own != nil {
			both, err := joinedLists(in, own, value)
			if err != nil {
				return nil, err
			}
			value = both
		}
		inputs[key] = value
	}
	return inputs, nil
}

func (s *source) noEnvironment(name string) error {
	names := slices.Sorted(maps.Keys(s.File.Environments))
	if len(names) == 0 {
		return fmt.Errorf("environment %q: there are no environments in %s", name, s.File.Name)
	}
	for i, known := range names {
		names[i] = fmt.Sprintf("%q", known)
	}
	if more := len(names) - maxShownNames; more > 0 {
		names = append(names[:maxShownNames], fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("environment %q is not in %s; want %s", name, s.File.Name, alternatives(names))
}

// joinedLists is the list of a's items and then b's.
func joinedLists(in Input, a, b any) (string, error) {
	var all []string
	for _, value := range []any{a, b} {
		text, err := yamlText(in, value)
		if err != nil {
			return "", err
		}
		items, err := splitList(text, in.CSV)
		if err != nil {
			return "", &ValueError{in.Name, "", err.Error()}
		}
		all = append(all, items...)
	}
	array, err := json.Marshal(all)
	return "json:" + string(array), err
}

// checkEnvironments finds keys that mean nothing in environments, also in those
// that are not picked. What they set is another step's when this one picks none.
func (s *source) checkEnvironments() error {
	var accepted []string
	picks := false
	for name, in := range s.inputs {
		picks = picks || in.Environment == pickEnvironment
		if in.InEnvironment() {
			accepted = append(accepted, name)
		}
	}
	if !picks {
		return nil
	}
	slices.Sort(accepted)
	for _, name := range slices.Sorted(maps.Keys(s.File.Environments)) {
		for _, key := range slices.Sorted(maps.Keys(s.File.Environments[name])) {
			in, path := s.inputs[key], strings.Join([]string{environments, name, key}, ".")
			if !in.InEnvironment() {
				return fmt.Errorf("%s: key %s: an environment sets %s, nothing else", s.File.Name, path, alternatives(accepted))
			}
			if s.Untrusted && !in.Harmless {
				s.values.Warnings = append(s.values.Warnings, fmt.Sprintf("%s: key %s is ignored in a run for a fork", s.File.Name, path))
			}
		}
	}
	return nil
}
