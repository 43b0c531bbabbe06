package differential

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// An item is something that a report speaks of: the image itself, a result, a
// package, a vulnerability or a secret.
type item struct {
	Kind, Class, Type, Target string
	Name, Version, Path, ID   string
	Nth                       int // of those that are alike
}

func (i item) String() string {
	parts := []string{i.Kind}
	for _, part := range []string{i.Class, i.Type, i.Target, i.Name, i.Version, i.Path, i.ID} {
		if part != "" {
			parts = append(parts, fmt.Sprintf("%.80q", part))
		}
	}
	if i.Nth > 0 {
		parts = append(parts, fmt.Sprintf("#%d", i.Nth+1))
	}
	return strings.Join(parts, " ")
}

// says is all that a report says of an item, by field.
type says map[string]string

// object is one of JSON.
type object = map[string]any

// facts turns a report in Trivy's schema into what it says of each item. Left
// out is only what no two runs have in common (when, by which version, under
// which random number), and what the image is called: by its file in Trivy, by
// the tag in an archive in ours.
func facts(t *testing.T, report object) map[item]says {
	t.Helper()
	c := collector{t: t, found: map[item][]says{}}
	for _, field := range []string{"CreatedAt", "ReportID", "Trivy"} {
		delete(report, field)
	}
	results, name := list(report, "Results"), text(report, "ArtifactName")
	delete(report, "ArtifactName")
	c.add(item{Kind: "image"}, report)
	for _, result := range results {
		in := item{Class: text(result, "Class"), Type: text(result, "Type"), Target: text(result, "Target")}
		if rest, ok := strings.CutPrefix(in.Target, name+" ("); ok {
			in.Target = "image (" + rest
			result["Target"] = in.Target
		}
		if in.Type == "nuget" {
			dropOrder(result)
		}
		for key, kind := range map[string]string{"Packages": "package", "Vulnerabilities": "vulnerability", "Secrets": "secret"} {
			for _, one := range list(result, key) {
				c.add(identify(in, kind, one), one)
			}
		}
		in.Kind = "result"
		c.add(in, result)
	}
	return c.numbered()
}

// dropOrder takes out of a result what depends on the order of dependencies:
// Trivy's parser of NuGet's lock files leaves it to chance, run by run.
func dropOrder(result object) {
	packages, _ := result["Packages"].([]any)
	vulnerabilities, _ := result["Vulnerabilities"].([]any)
	for _, v := range slices.Concat(packages, vulnerabilities) {
		one, _ := v.(object)
		for _, key := range []string{"Identifier", "PkgIdentifier"} {
			if identifier, ok := one[key].(object); ok {
				delete(identifier, "UID") // a hash of all that is known of the package
			}
		}
		if on, ok := one["DependsOn"].([]any); ok {
			slices.SortFunc(on, func(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
	}
}

// identify tells what one is about.
func identify(in item, kind string, one object) item {
	in.Kind = kind
	switch kind {
	case "package":
		in.Name, in.Version, in.Path, in.ID = text(one, "Name"), text(one, "Version"), text(one, "FilePath"), text(one, "Arch")
	case "vulnerability":
		in.Name, in.Version, in.Path, in.ID = text(one, "PkgName"), text(one, "InstalledVersion"), text(one, "PkgPath"), text(one, "VulnerabilityID")
	case "secret":
		in.Name, in.Path = text(one, "RuleID"), fmt.Sprintf("%v-%v", one["StartLine"], one["EndLine"])
	}
	return in
}

// collector gathers items, of which several may look alike.
type collector struct {
	t     *testing.T
	found map[item][]says
}

func (c *collector) add(i item, one object) {
	fields := says{}
	flatten(c.t, fields, "", one)
	c.found[i] = append(c.found[i], fields)
}

// numbered tells alike items apart: by all that is said of them, whatever their
// order in the report.
func (c *collector) numbered() map[item]says {
	all := map[item]says{}
	for i, alike := range c.found {
		slices.SortFunc(alike, func(a, b says) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		for n, fields := range alike {
			i.Nth = n
			all[i] = fields
		}
	}
	return all
}

// flatten takes objects apart, so that fields inside them are compared each.
func flatten(t *testing.T, into says, prefix string, value object) {
	for key, v := range value {
		if inner, ok := v.(object); ok {
			flatten(t, into, prefix+key+".", inner)
			continue
		}
		content, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		into[prefix+key] = string(content)
	}
}

func text(o object, key string) string {
	s, _ := o[key].(string)
	return s
}

// list takes a list of objects out of o.
func list(o object, key string) []object {
	values, _ := o[key].([]any)
	delete(o, key)
	var objects []object
	for _, v := range values {
		if one, ok := v.(object); ok {
			objects = append(objects, one)
		}
	}
	return objects
}

// counts says how many packages, vulnerabilities and secrets a report holds.
func counts(report object) map[string]int {
	found := map[string]int{}
	results, _ := report["Results"].([]any)
	for _, r := range results {
		result, _ := r.(object)
		for _, key := range []string{"Packages", "Vulnerabilities", "Secrets"} {
			values, _ := result[key].([]any)
			found[key] += len(values)
		}
	}
	return found
}

// found is the number of all that a report holds.
func found(report object) int {
	n := 0
	for _, count := range counts(report) {
		n += count
	}
	return n
}

func summary(report object) string {
	all := counts(report)
	return fmt.Sprintf("%d packages, %d vulnerabilities, %d secrets", all["Packages"], all["Vulnerabilities"], all["Secrets"])
}
