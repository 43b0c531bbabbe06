package analysis

import (
	"maps"
	"slices"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

// mergeSecrets returns the secrets of all layers, by path. They are never
// deleted: whoever has the image has its lower layers too. Of a file that is
// there again, what a rule finds replaces what it found below; what only the
// lower one has is kept, all of it (Trivy keeps one finding of each rule).
func mergeSecrets(layers []*Result, ids ftypes.Layers) []ftypes.Secret {
	byPath := map[string]ftypes.Secret{}
	for i, l := range layers {
		at := origin(ids[i])
		at.CreatedBy = ids[i].CreatedBy
		for _, s := range l.Secrets {
			findings := slices.Clone(s.Findings) // the layer's result stays as it is
			again := map[string]bool{}
			for j := range findings {
				findings[j].Layer = at
				again[findings[j].RuleID] = true
			}
			for _, old := range byPath[s.FilePath].Findings {
				if !again[old.RuleID] {
					findings = append(findings, old)
				}
			}
			byPath[s.FilePath] = ftypes.Secret{FilePath: s.FilePath, Findings: findings}
		}
	}
	var merged []ftypes.Secret
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		merged = append(merged, byPath[path])
	}
	return merged
}
