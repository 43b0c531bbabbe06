package input

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
)

// field is an input and where its value goes. It is found by struct tags here,
// and not by a library: those that call methods by name keep the linker from
// leaving out any exported method of any type, which is a fifth of each program.
type field struct {
	Input
	target    reflect.Value
	negatable bool // --no-NAME is understood
}

// fieldsOf returns the inputs of target, a pointer to a struct, in their order;
// those of embedded structs in the place of the struct.
func fieldsOf(target any) ([]field, error) {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("inputs are declared by a pointer to a struct, not by %T", target)
	}
	fields, err := collect(v.Elem(), "")
	if err != nil {
		return nil, fmt.Errorf("inputs of %T: %w", target, err)
	}
	seen := map[string]bool{}
	for _, f := range fields {
		if seen[f.Name] {
			return nil, fmt.Errorf("inputs of %T: %s is declared twice", target, f.Name)
		}
		seen[f.Name] = true
		if err := f.checkDefault(); err != nil {
			return nil, fmt.Errorf("inputs of %T: default: %w", target, err)
		}
	}
	return fields, nil
}

// collect returns the inputs of a struct. Its group is theirs where they have none.
func collect(v reflect.Value, group string) ([]field, error) {
	var fields []field
	for i := range v.NumField() {
		declared := v.Type().Field(i)
		own, ok := declared.Tag.Lookup("group")
		if !ok {
			own = group
		}
		if declared.Anonymous && declared.Type.Kind() == reflect.Struct {
			below, err := collect(v.Field(i), own)
			if err != nil {
				return nil, err
			}
			fields = append(fields, below...)
			continue
		}
		kind, ok := kindOf(declared.Type)
		if !ok || declared.Tag.Get("name") == "" || !declared.IsExported() {
			return nil, fmt.Errorf("field %s has no name, or a type that cannot be read", declared.Name)
		}
		fields = append(fields, newField(declared.Tag, kind, own, v.Field(i)))
	}
	return fields, nil
}

func newField(tag reflect.StructTag, kind Kind, group string, target reflect.Value) field {
	has := func(key string) bool { _, ok := tag.Lookup(key); return ok }
	f := field{target: target, negatable: has("negatable"), Input: Input{
		Name:        tag.Get("name"),
		Help:        tag.Get("help"),
		Kind:        kind,
		Placeholder: tag.Get("placeholder"),
		Default:     tag.Get("default"),
		Group:       group,
		CSV:         tag.Get("list") == "csv",
		Secret:      has("secret"),
		Harmless:    has("harmless"),
		Hidden:      has("hidden"),
		Environment: tag.Get("environment"),
	}}
	if enum, ok := tag.Lookup("enum"); ok {
		f.Enum = strings.Split(enum, ",")
	}
	return f
}

func kindOf(t reflect.Type) (Kind, bool) {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return Duration, true
	case t == reflect.TypeFor[[]string]():
		return List, true
	case t.Kind() == reflect.Bool:
		return Bool, true
	case t.Kind() == reflect.String:
		return String, true
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return Int, true
	}
	return "", false
}

// checkDefault says what is wrong with the default, which a user never sees.
func (f field) checkDefault() error {
	if f.Default == "" && (f.Enum == nil || f.Kind == List) {
		return nil
	}
	f.target = reflect.New(f.target.Type()).Elem() // the value stays as it is
	return f.set(f.Default)
}

// readFlags returns the values of the flags in args, by name, in their order.
func readFlags(fields []field, args []string) (map[string][]string, error) {
	values := map[string][]string{}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error says it all
	for _, f := range fields {
		if f.Secret {
			continue // never a flag: every process can read it
		}
		note := func(text string) error {
			if f.Kind != List {
				values[f.Name] = nil // the last one counts
			}
			values[f.Name] = append(values[f.Name], text)
			return nil
		}
		if f.Kind == Bool {
			flags.BoolFunc(f.Name, "", note)
		} else {
			flags.Func(f.Name, "", note)
		}
		if f.negatable {
			flags.BoolFunc("no-"+f.Name, "", func(text string) error {
				if text != "true" {
					return errors.New("it takes no value")
				}
				return note("false")
			})
		}
	}
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("%w; inputs are given as --NAME=VALUE, and --help lists them", err)
	}
	if rest := flags.Args(); len(rest) > 0 {
		return nil, fmt.Errorf("argument %q is not understood; inputs are given as --NAME=VALUE", rest[0])
	}
	return values, nil
}
