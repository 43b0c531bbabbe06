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

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

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
	k, err := newKong("describe", target, nil)
	if err != nil {
		return nil, err
	}
	var inputs []Input
	for _, f := range k.Model.Flags {
		inputs = append(inputs, describe(f))
	}
	return inputs, nil
}

func describe(f *kong.Flag) Input {
	in := Input{
		Name:        f.Name,
		Help:        f.Help,
		Kind:        kindOf(f.Target.Type()),
		Placeholder: f.PlaceHolder,
		Default:     f.Default,
		CSV:         f.Tag.Get("list") == "csv",
		Secret:      f.Tag.Has("secret"),
		Harmless:    f.Tag.Has("harmless"),
		Hidden:      f.Hidden,
		Environment: f.Tag.Get("environment"),
	}
	if f.Enum != "" {
		in.Enum = f.EnumSlice()
	}
	if f.Group != nil {
		in.Group = f.Group.Key
	}
	return in
}

func kindOf(t reflect.Type) Kind {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return Duration
	case t.Kind() == reflect.Bool:
		return Bool
	case t.Kind() == reflect.Slice:
		return List
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return Int
	}
	return String
}

// newKong makes the parser of target. It prints nothing and never exits.
func newKong(name string, target any, resolver kong.Resolver) (*kong.Kong, error) {
	options := []kong.Option{
		kong.Name(name),
		kong.NoDefaultHelp(),
		kong.Exit(func(int) {}),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)),
		kong.TypeMapper(reflect.TypeFor[[]string](), kong.MapperFunc(decodeList)),
		kong.KindMapper(reflect.String, kong.MapperFunc(decodeString)),
		kong.KindMapper(reflect.Int, kong.MapperFunc(decodeInt)),
		kong.KindMapper(reflect.Int64, kong.MapperFunc(decodeInt)),
		kong.KindMapper(reflect.Bool, boolDecoder{}),
	}
	if resolver != nil {
		options = append(options, kong.Resolvers(resolver))
	}
	k, err := kong.New(target, options...)
	if err != nil {
		return nil, fmt.Errorf("inputs of %s: %w", name, err)
	}
	return k, nil
}
