package input

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/imagewright/imagewright/internal/fault"
)

// ValueError is returned for a value that an input does not accept.
type ValueError struct {
	Input string
	Value string // "" for a secret, and for what is no single value
	Want  string // what would be accepted
}

func (e *ValueError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("input %s: the value is not accepted; want %s", e.Input, e.Want)
	}
	return fmt.Sprintf("input %s: %q is not accepted; want %s", e.Input, e.Value, e.Want)
}

// ExitCode is that of a usage error.
func (e *ValueError) ExitCode() int { return fault.ExitUsage }

// reject is the error for value, which is left out where it may be a secret.
func reject(v *kong.Value, value, want string) error {
	if v.Tag.Has("secret") {
		value = ""
	}
	return &ValueError{v.Name, value, want}
}

// text pops the value, which flags, environment and YAML all hand over as text
// (see source.text).
func text(ctx *kong.DecodeContext) (string, error) {
	var s string
	err := ctx.Scan.PopValueInto(ctx.Value.Name, &s)
	return s, err
}

func decodeString(ctx *kong.DecodeContext, target reflect.Value) error {
	s, err := text(ctx)
	if err != nil {
		return err
	}
	if err := checkEnum(ctx.Value, s); err != nil {
		return err
	}
	target.SetString(s)
	return nil
}

func checkEnum(v *kong.Value, s string) error {
	if v.Enum == "" || slices.Contains(v.EnumSlice(), s) {
		return nil
	}
	return reject(v, s, alternatives(v.EnumSlice()))
}

// alternatives is "a, b or c"; the empty string among them is said in words.
func alternatives(words []string) string {
	words = slices.Clone(words)
	for i, w := range words {
		if w == "" {
			words[i] = "nothing"
		}
	}
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func decodeInt(ctx *kong.DecodeContext, target reflect.Value) error {
	s, err := text(ctx)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(s, 10, target.Type().Bits())
	if err != nil || n < 0 {
		return reject(ctx.Value, s, "a whole number from 0 up")
	}
	target.SetInt(n)
	return nil
}

// decodeDuration takes Go's durations and days (30d), as retention rules are
// written.
func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	s, err := text(ctx)
	if err != nil {
		return err
	}
	d, err := ParseDuration(s)
	if err != nil {
		return reject(ctx.Value, s, "a duration such as 90s, 10m, 168h or 30d")
	}
	target.SetInt(int64(d))
	return nil
}

// ParseDuration is [time.ParseDuration], and also takes whole days: 30d.
// Negative durations are errors.
func ParseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16) // 65,535 days: no overflow
		return time.Duration(n) * 24 * time.Hour, err
	}
	if s == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errors.New("negative")
	}
	return d, err
}

type boolDecoder struct{}

func (boolDecoder) IsBool() bool { return true }

// Decode treats a flag without value as true.
func (boolDecoder) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	s := fmt.Sprint(ctx.Scan.Pop().Value)
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		target.SetBool(true)
	case "false", "no", "off", "0", "":
		target.SetBool(false)
	default:
		return reject(ctx.Value, s, "true or false")
	}
	return nil
}

// decodeList adds the items of one flag, variable or YAML value to target.
func decodeList(ctx *kong.DecodeContext, target reflect.Value) error {
	s, err := text(ctx)
	if err != nil {
		return err
	}
	items, err := splitList(s, ctx.Value.Tag.Get("list") == "csv")
	if err != nil {
		return reject(ctx.Value, s, err.Error())
	}
	for _, item := range items {
		if err := checkEnum(ctx.Value, item); err != nil {
			return err
		}
		target.Set(reflect.Append(target, reflect.ValueOf(item)))
	}
	return nil
}

// splitList returns the items of s: a JSON array, lines, or comma and newline
// separated records with build-push-action's quoting. Items are trimmed and
// empty ones dropped.
func splitList(s string, commas bool) ([]string, error) {
	trimmed := strings.TrimSpace(s)
	array, explicit := strings.CutPrefix(trimmed, "json:")
	if explicit || strings.HasPrefix(trimmed, "[") {
		var items []string
		if err := json.Unmarshal([]byte(array), &items); err != nil {
			return nil, errors.New("a JSON array of strings")
		}
		return items, nil
	}
	var items []string
	if !commas {
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != "" {
				items = append(items, line)
			}
		}
		return items, nil
	}
	r := csv.NewReader(strings.NewReader(s))
	r.FieldsPerRecord = -1
	r.LazyQuotes = true
	r.TrimLeadingSpace = true
	for {
		record, err := r.Read()
		if err == io.EOF {
			return items, nil
		}
		if err != nil {
			return nil, errors.New("comma or newline separated items, quoted as in CSV")
		}
		for _, field := range record {
			if field = strings.TrimSpace(field); field != "" {
				items = append(items, field)
			}
		}
	}
}
