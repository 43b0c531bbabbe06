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

	"github.com/imagewright/imagewright/internal/fault"
)

// ValueError is returned for a value that an input does not accept.
type ValueError struct {
	Input string
	Value string // "" for a secret, and for what is no single value
	Want  string // what would be accepted
}

// Error implements error.
func (e *ValueError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("input %s: the value is not accepted; want %s", e.Input, e.Want)
	}
	return fmt.Sprintf("input %s: %q is not accepted; want %s", e.Input, e.Value, e.Want)
}

// ExitCode is that of a usage error.
func (e *ValueError) ExitCode() int { return fault.ExitUsage }

// reject is the error for value, which is left out where it may be a secret.
func (f field) reject(value, want string) error {
	if f.Secret {
		value = ""
	}
	return &ValueError{f.Name, value, want}
}

// set reads text, in which flags, environment and YAML all hand values over (see
// yamlText). To a list it adds.
func (f field) set(text string) error {
	switch f.Kind {
	case Bool:
		return f.setBool(text)
	case Int:
		n, err := strconv.ParseInt(text, 10, f.target.Type().Bits())
		if err != nil || n < 0 {
			return f.reject(text, "a whole number from 0 up")
		}
		f.target.SetInt(n)
	case Duration:
		d, err := ParseDuration(text)
		if err != nil {
			return f.reject(text, "a duration such as 90s, 10m, 168h or 30d")
		}
		f.target.SetInt(int64(d))
	case List:
		return f.addItems(text)
	case String:
		if err := f.checkEnum(text); err != nil {
			return err
		}
		f.target.SetString(text)
	}
	return nil
}

func (f field) setBool(text string) error {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		f.target.SetBool(true)
	case "false", "no", "off", "0", "":
		f.target.SetBool(false)
	default:
		return f.reject(text, "true or false")
	}
	return nil
}

func (f field) addItems(text string) error {
	items, err := splitList(text, f.CSV)
	if err != nil {
		return f.reject(text, err.Error())
	}
	for _, item := range items {
		if err := f.checkEnum(item); err != nil {
			return err
		}
		f.target.Set(reflect.Append(f.target, reflect.ValueOf(item)))
	}
	return nil
}

func (f field) checkEnum(text string) error {
	if f.Enum == nil || slices.Contains(f.Enum, text) {
		return nil
	}
	return f.reject(text, alternatives(f.Enum))
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

// ParseDuration is [time.ParseDuration], and also takes whole days, as retention
// rules are written: 30d.
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
