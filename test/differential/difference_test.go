package differential

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A difference is what only one of the programs says.
type difference struct {
	item
	Side  string // ours or trivy
	Field string // of an item that both report; empty: the whole item
	Value string
}

const (
	sideOurs  = "ours"
	sideTrivy = "trivy"
)

// diff compares what both say.
func diff(ours, trivy map[item]says) []difference {
	all := slices.Concat(missing(ours, trivy, sideOurs), missing(trivy, ours, sideTrivy))
	slices.SortFunc(all, func(a, b difference) int {
		return cmp.Or(cmp.Compare(a.item.String(), b.item.String()), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Side, b.Side))
	})
	return all
}

// missing returns what is said on side, and not or otherwise by the other.
func missing(said, other map[item]says, side string) []difference {
	var all []difference
	for i, fields := range said {
		otherwise, ok := other[i]
		if !ok {
			all = append(all, difference{item: i, Side: side, Value: i.brief(fields)})
			continue
		}
		for _, field := range slices.Sorted(maps.Keys(fields)) {
			if value, ok := otherwise[field]; !ok || value != fields[field] {
				all = append(all, difference{i, side, field, fields[field]})
			}
		}
	}
	return all
}

// brief is what helps to recognise an item that only one side has.
func (i item) brief(fields says) string {
	for _, field := range []string{"Match", "Severity", "Identifier.PURL", "AnalyzedBy"} {
		if v, ok := fields[field]; ok {
			return fmt.Sprintf("%s %.200s", field, v)
		}
	}
	return ""
}

func refusals(ours, trivy string) []difference {
	var all []difference
	for _, r := range []struct{ side, text string }{{sideOurs, ours}, {sideTrivy, trivy}} {
		if r.text != "" {
			all = append(all, difference{item: item{Kind: "refusal"}, Side: r.side, Value: r.text})
		}
	}
	return all
}

// maxDescribed bounds the differences shown of one image.
const maxDescribed = 60

// describe prints differences, those of one item together.
func describe(all []difference) string {
	var b strings.Builder
	var last item
	for n, d := range all {
		if n == maxDescribed {
			fmt.Fprintf(&b, "… and %d more\n", len(all)-n)
			break
		}
		if d.item != last {
			fmt.Fprintf(&b, "%s\n", d.item)
			last = d.item
		}
		switch d.Field {
		case "":
			fmt.Fprintf(&b, "    only %s: %.600s\n", d.Side, d.Value)
		default:
			fmt.Fprintf(&b, "    %-5s %s: %.300s\n", d.Side, d.Field, d.Value)
		}
	}
	return b.String()
}
