package secret

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"gopkg.in/yaml.v3" // Trivy's, so that a file means the same to both
)

// builtin is Trivy's rules, as data: linking the package they are from would cost
// every start of the program more than the start may cost altogether, for 105
// compiled expressions and for packages that have nothing to do with secrets.
// A test compares, and with -update writes, the file.
//
//go:embed rules.json
var builtin []byte

// config is what a trivy-secret.yaml holds.
//
// Format: https://trivy.dev/docs/latest/guide/scanner/secret/#configuration
type config struct {
	Enable       []string    `yaml:"enable-builtin-rules"` // none: all
	Disable      []string    `yaml:"disable-rules"`
	DisableAllow []string    `yaml:"disable-allow-rules"`
	Rules        []rule      `yaml:"rules"`
	Allow        []allowRule `yaml:"allow-rules"`
	Exclude      exclusion   `yaml:"exclude-block"`
	Skip         *[]string   `yaml:"skip-patterns"` // nil: Trivy's own
}

// readRules returns Trivy's rules as changed by a user's file; nil: by none.
func readRules(text []byte) (*ruleSet, error) {
	var set ruleSet
	if err := json.Unmarshal(builtin, &set); err != nil {
		return nil, err
	}
	var c config
	if text != nil {
		switch err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&c); {
		case errors.Is(err, io.EOF):
			return nil, errors.New("the file is empty")
		case err != nil:
			return nil, err
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	set.change(&c)
	return &set, nil
}

func (s *ruleSet) change(c *config) {
	if len(c.Enable) > 0 {
		s.Rules = slices.DeleteFunc(s.Rules, func(r rule) bool { return !slices.Contains(c.Enable, r.ID) })
	}
	s.Rules = slices.DeleteFunc(append(s.Rules, c.Rules...), func(r rule) bool {
		return r.Regex == nil || slices.Contains(c.Disable, r.ID) // without expression it finds nothing
	})
	s.Allow = slices.DeleteFunc(append(s.Allow, c.Allow...), func(r allowRule) bool {
		return slices.Contains(c.DisableAllow, r.ID)
	})
	s.exclude = c.Exclude
	if c.Skip != nil {
		s.Skip = *c.Skip
	}
}

// check compiles every expression, so that a bad one is known before the scan,
// and puts the severities into the form that reports have.
func (c *config) check() error {
	for i := range c.Rules {
		r := &c.Rules[i]
		r.Severity = severity(r.Severity)
		if err := r.check(); err != nil {
			return fmt.Errorf("rule %q: %w", r.ID, err)
		}
	}
	if err := checkAllow(c.Allow); err != nil {
		return err
	}
	if err := c.Exclude.check(); err != nil {
		return err
	}
	if c.Skip != nil {
		for _, p := range *c.Skip {
			if !doublestar.ValidatePattern(p) {
				return fmt.Errorf("skip-patterns: %q is not a glob", p)
			}
		}
	}
	return nil
}

// severity returns a severity in upper case; UNKNOWN for what is none.
func severity(s string) string {
	s = strings.ToUpper(s)
	if !slices.Contains([]string{"LOW", "MEDIUM", "HIGH", "CRITICAL"}, s) {
		return "UNKNOWN"
	}
	return s
}

func (r *rule) check() error {
	if err := r.Regex.check("regex"); err != nil {
		return err
	}
	if err := r.Path.check("path"); err != nil {
		return err
	}
	if err := checkAllow(r.Allow); err != nil {
		return err
	}
	return r.Exclude.check()
}

func checkAllow(rules []allowRule) error {
	for _, a := range rules {
		if err := errors.Join(a.Regex.check("regex"), a.Path.check("path")); err != nil {
			return fmt.Errorf("allow rule %q: %w", a.ID, err)
		}
	}
	return nil
}

func (e *exclusion) check() error {
	for _, p := range e.Regexes {
		if p == nil {
			return errors.New("exclude-block: an expression is empty")
		}
		if err := p.check("exclude-block"); err != nil {
			return err
		}
	}
	return nil
}

// check returns what is wrong with the expression of a field, which may be nil.
func (p *pattern) check(field string) error {
	if p == nil {
		return nil
	}
	if _, err := regexp.Compile(p.text); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}
