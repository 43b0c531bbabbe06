package build

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/go-csvvalue"
)

// csvAttrs reads NAME=VALUE fields separated by commas, quoted as in CSV.
func csvAttrs(record string) (map[string]string, error) {
	fields, err := csvvalue.Fields(record, nil)
	if err != nil {
		return nil, errors.New("not comma-separated NAME=VALUE")
	}
	attrs := map[string]string{}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return nil, errors.New("an attribute has no value; want NAME=VALUE")
		}
		key = strings.ToLower(strings.TrimSpace(key))
		if _, twice := attrs[key]; twice {
			return nil, fmt.Errorf("attribute %s is given twice", key)
		}
		attrs[key] = strings.TrimSpace(value)
	}
	return attrs, nil
}

// csvRecord is attrs as a builder reads them, sorted.
func csvRecord(attrs map[string]string) string {
	var fields []string
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		field := key + "=" + attrs[key]
		if strings.ContainsAny(field, "\",\n") {
			field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
		}
		fields = append(fields, field)
	}
	return strings.Join(fields, ",")
}

// checkAttr says what is wrong with an attribute's value, nil for nothing.
type checkAttr func(value string) error

// checkAttrs compares attrs with what is known for kind; kinds are all there are.
func checkAttrs(kind string, attrs map[string]string, known map[string]checkAttr, kinds string) error {
	if known == nil {
		return fmt.Errorf("type %q is not accepted; want %s", kind, kinds)
	}
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		if known[key] == nil {
			return fmt.Errorf("attribute %s is not known for type=%s; want %s", key, kind, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if err := known[key](attrs[key]); err != nil {
			return fmt.Errorf("attribute %s: %w", key, err)
		}
	}
	return nil
}

func oneOf(accepted ...string) checkAttr {
	return func(value string) error {
		if slices.Contains(accepted, value) {
			return nil
		}
		return fmt.Errorf("%q is not accepted; want %s", value, strings.Join(accepted, " or "))
	}
}

func isBool(value string) error {
	if _, err := strconv.ParseBool(value); err != nil {
		return fmt.Errorf("%q is not accepted; want true or false", value)
	}
	return nil
}

func notEmpty(value string) error {
	if value == "" {
		return errors.New("it is empty")
	}
	return nil
}

func isDigest(value string) error {
	if _, err := digest.Parse(value); err != nil {
		return fmt.Errorf("%q is not a digest", value)
	}
	return nil
}

func isReference(value string) error {
	if _, err := reference.ParseNormalizedNamed(value); err != nil {
		return fmt.Errorf("%q is not an image reference", value)
	}
	return nil
}
