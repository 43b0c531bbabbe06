// Package input declares a step's inputs once, as struct tags, and reads them
// from flags, environment and imagewright.yaml. Help, manifests and docs are
// made from the same declaration.
//
// Tags of a field (string, bool, int, int64, time.Duration or []string):
//
//	name:"scan-gate"      the flag, and the base of every environment name
//	help:"A sentence."
//	placeholder:"REF"     stands for the value in help
//	enum:"a,b"            what is accepted; the default must be among them
//	default:"a"
//	group:"Cache"         heading in help and docs
//	secret:""             comes from the environment only and is masked
//	list:"csv"            a []string of comma and newline separated records
//	                      (as build-push-action has them); without it, one item a line
//	harmless:""           a fork's imagewright.yaml may set it, too: it decides
//	                      nothing about gates, builders, databases, credentials
//	                      or files outside the checkout
//	hidden:""             not in help and manifests
//	environment:"pick"    names the environment of imagewright.yaml that counts:
//	                      its values lie over the step's own there
//	environment:"set"     an environment may set it
//	environment:"append"  likewise, for a list: the environment's items follow
//	                      the step's own, so that of NAME=VALUE they win
package input

import "strings"

// Kind is the type of an input's value.
type Kind string

// The kinds.
const (
	String   Kind = "string"
	Bool     Kind = "boolean"
	Int      Kind = "number"
	Duration Kind = "duration"
	List     Kind = "list"
)

// Input is one declared input.
type Input struct {
	Name        string
	Help        string // a sentence
	Kind        Kind
	Placeholder string
	Default     string
	Enum        []string // what is accepted; nil for anything
	Group       string
	CSV         bool // a list of comma and newline separated records
	Secret      bool
	Harmless    bool // a fork may set it
	Hidden      bool
	Environment string // what it is to environments: pick, set, append or nothing
}

// The values of the tag environment.
const (
	pickEnvironment   = "pick"
	setInEnvironment  = "set"
	addsInEnvironment = "append"
)

// InEnvironment tells whether an environment of imagewright.yaml may set it.
func (in Input) InEnvironment() bool {
	return in.Environment == setInEnvironment || in.Environment == addsInEnvironment
}

// EnvNames returns the environment variables that set the input for step, the
// strongest first. GitHub keeps hyphens in INPUT_ names; shells drop such
// variables, so the form with underscores counts too.
func (in Input) EnvNames(step string) []string {
	upper := strings.ToUpper(in.Name)
	under := strings.ReplaceAll(upper, "-", "_")
	names := []string{ownPrefix(step) + under, "INPUT_" + upper}
	if under != upper {
		names = append(names, "INPUT_"+under)
	}
	return append(names, "PLUGIN_"+under)
}

func ownPrefix(step string) string {
	return "IMAGEWRIGHT_" + strings.ToUpper(strings.ReplaceAll(step, "-", "_")) + "_"
}

// Describe returns the inputs that target, a pointer to a struct, declares, in
// the order of its fields.
func Describe(target any) ([]Input, error) {
	fields, err := fieldsOf(target)
	if err != nil {
		return nil, err
	}
	var inputs []Input
	for _, f := range fields {
		inputs = append(inputs, f.Input)
	}
	return inputs, nil
}
