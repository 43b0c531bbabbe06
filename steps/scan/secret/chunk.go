package secret

import (
	"bytes"
	"fmt"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

// chunk is a chunk of a file and the scratch memory to look at it.
type chunk struct {
	data [bufferSize + padding]byte
	*sifter
}

// match is a place where a rule found a secret.
type match struct {
	*rule
	span
}

// look returns what is in the first n bytes of a chunk, as if these were a file.
func (x *Session) look(c *chunk, n int, f *file) (found []ftypes.SecretFinding, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the scanner broke off: %v", r)
		}
	}()
	if err := x.ctx.Err(); err != nil {
		return nil, err
	}
	data := c.data[:n]
	matches := x.scanner.rules.matches(data, x.candidates(c, data), f.path)
	return report(matches, data, f), nil
}

// candidates returns the indexes of the rules that may match data, which is c's.
func (x *Session) candidates(c *chunk, data []byte) []int {
	if x.small {
		every := make([]int, len(x.scanner.rules.Rules))
		for i := range every {
			every[i] = i
		}
		return every
	}
	sieve := x.scanner.sieve()
	if c.sifter == nil {
		c.sifter = sieve.sifter()
	}
	return sieve.sift(data, c.sifter)
}

// matches returns what the rules at these indexes find in data.
func (s *ruleSet) matches(data []byte, rules []int, path string) []match {
	var all []match
	var lower []byte
	var excluded []span
	for _, i := range rules {
		r := &s.Rules[i]
		if lower == nil {
			lower = bytes.ToLower(data)
		}
		if !r.hasKeyword(lower) || !r.isFor(path) {
			continue
		}
		found := r.find(data, s.Allow)
		if len(found) == 0 {
			continue
		}
		if excluded == nil {
			excluded = spans(s.exclude.Regexes, data)
		}
		here := spans(r.Exclude.Regexes, data)
		for _, at := range found {
			if !at.within(excluded) && !at.within(here) {
				all = append(all, match{r, at})
			}
		}
	}
	return all
}
