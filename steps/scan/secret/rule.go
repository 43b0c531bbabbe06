package secret

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// rule is one kind of secret.
type rule struct {
	ID       string `json:"id" yaml:"id"`
	Category string `json:"category,omitempty" yaml:"category"`
	Title    string `json:"title,omitempty" yaml:"title"`
	Severity string `json:"severity,omitempty" yaml:"severity"`
	// Regex matches the secret; its groups named SecretGroup, if that is set,
	// are the secret, and the rest of the match is its surroundings.
	Regex       *pattern `json:"regex,omitempty" yaml:"regex"`
	SecretGroup string   `json:"secret-group-name,omitempty" yaml:"secret-group-name"`
	// Keywords: one of them has to occur in the chunk, whatever its case.
	Keywords []string    `json:"keywords,omitempty" yaml:"keywords"`
	Path     *pattern    `json:"path,omitempty" yaml:"path"` // of the files the rule is for; nil: of all
	Allow    []allowRule `json:"allow-rules,omitempty" yaml:"allow-rules"`
	Exclude  exclusion   `json:"exclude-block,omitzero" yaml:"exclude-block"`
}

// allowRule is for what looks like a secret and is none.
type allowRule struct {
	ID          string   `json:"id" yaml:"id"`
	Description string   `json:"description,omitempty" yaml:"description"`
	Regex       *pattern `json:"regex,omitempty" yaml:"regex"` // matches somewhere in what a rule matched
	Path        *pattern `json:"path,omitempty" yaml:"path"`
}

// exclusion matches parts of a file in which there are no secrets.
type exclusion struct {
	Description string     `json:"description,omitempty" yaml:"description"`
	Regexes     []*pattern `json:"regexes,omitempty" yaml:"regexes"`
}

// ruleSet is all rules of a scanner.
type ruleSet struct {
	Rules   []rule      `json:"rules"`
	Allow   []allowRule `json:"allow-rules"`
	Skip    []string    `json:"skip-patterns"` // globs of paths that are not scanned
	exclude exclusion
}

// pattern is a regular expression that is compiled when it is used first. Of a
// hundred rules few ever are.
type pattern struct {
	text     string
	once     sync.Once
	compiled *regexp.Regexp
}

// UnmarshalText takes the expression as it is.
func (p *pattern) UnmarshalText(text []byte) error {
	p.text = string(text)
	return nil
}

// MarshalText returns the expression.
func (p *pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

func (p *pattern) regexp() *regexp.Regexp {
	p.once.Do(func() { p.compiled = regexp.MustCompile(p.text) })
	return p.compiled
}

// isFor reports whether the rule is for the file at path.
func (r *rule) isFor(path string) bool {
	return (r.Path == nil || r.Path.regexp().MatchString(path)) && !allowsPath(r.Allow, path)
}

func allowsPath(rules []allowRule, path string) bool {
	return slices.ContainsFunc(rules, func(a allowRule) bool { return a.Path != nil && a.Path.regexp().MatchString(path) })
}

func allows(rules []allowRule, match []byte) bool {
	return slices.ContainsFunc(rules, func(a allowRule) bool { return a.Regex != nil && a.Regex.regexp().Match(match) })
}

// hasKeyword reports whether lower, a chunk in lower case, has one of the keywords.
func (r *rule) hasKeyword(lower []byte) bool {
	return len(r.Keywords) == 0 || slices.ContainsFunc(r.Keywords, func(k string) bool {
		return bytes.Contains(lower, []byte(strings.ToLower(k)))
	})
}

// span is a part of a chunk.
type span struct{ start, end int }

// find returns where the rule's secrets are in data, in the order of the matches.
func (r *rule) find(data []byte, allow []allowRule) []span {
	var found []span
	re := r.Regex.regexp()
	if r.SecretGroup == "" {
		for _, at := range re.FindAllIndex(data, -1) {
			if match := data[at[0]:at[1]]; !allows(allow, match) && !allows(r.Allow, match) {
				found = append(found, span{at[0], at[1]})
			}
		}
		return found
	}
	groups := re.SubexpNames()
	for _, at := range re.FindAllSubmatchIndex(data, -1) {
		if match := data[at[0]:at[1]]; allows(allow, match) || allows(r.Allow, match) {
			continue
		}
		for i, name := range groups {
			if name == r.SecretGroup && at[2*i] >= 0 {
				found = append(found, span{at[2*i], at[2*i+1]})
			}
		}
	}
	return found
}

// spans returns all that the patterns match, one pattern after the other.
func spans(patterns []*pattern, data []byte) []span {
	var all []span
	for _, p := range patterns {
		for _, at := range p.regexp().FindAllIndex(data, -1) {
			all = append(all, span{at[0], at[1]})
		}
	}
	return all
}

// within reports whether s lies in one of the others.
func (s span) within(others []span) bool {
	return slices.ContainsFunc(others, func(o span) bool { return o.start <= s.start && s.end <= o.end })
}
