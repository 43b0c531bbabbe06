package secret

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	trivy "github.com/aquasecurity/trivy/pkg/fanal/secret"
)

var update = flag.Bool("update", false, "write rules.json")

func TestRulesAreTrivys(t *testing.T) {
	all := trivy.NewScanner(&trivy.Config{}).Global
	set := struct {
		Source string `json:"source"`
		ruleSet
	}{"github.com/aquasecurity/trivy v0.74.0, pkg/fanal/secret; Apache License 2.0", ruleSet{Skip: all.SkipPatterns}}
	for _, r := range all.Rules {
		set.Rules = append(set.Rules, rule{
			ID: r.ID, Category: string(r.Category), Title: r.Title, Severity: r.Severity,
			Regex: patternOf(r.Regex), SecretGroup: r.SecretGroupName, Keywords: r.Keywords, Path: patternOf(r.Path),
			Allow: allowRulesOf(r.AllowRules), Exclude: exclusionOf(r.ExcludeBlock),
		})
	}
	set.Allow = allowRulesOf(all.AllowRules)
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(set); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("rules.json", text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(text.Bytes(), builtin) {
		t.Error("rules.json does not have the rules of the Trivy in go.mod; run: go test ./steps/scan/secret -run TestRulesAreTrivys -update")
	}
}

func patternOf(r *trivy.Regexp) *pattern {
	if r == nil {
		return nil
	}
	return &pattern{text: r.String()}
}

func allowRulesOf(rules trivy.AllowRules) []allowRule {
	var all []allowRule
	for _, r := range rules {
		all = append(all, allowRule{r.ID, r.Description, patternOf(r.Regex), patternOf(r.Path)})
	}
	return all
}

func exclusionOf(b trivy.ExcludeBlock) exclusion {
	e := exclusion{Description: b.Description}
	for _, r := range b.Regexes {
		e.Regexes = append(e.Regexes, patternOf(r))
	}
	return e
}
