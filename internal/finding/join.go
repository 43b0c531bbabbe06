package finding

import "slices"

// OnPlatform is what was found in the image of one platform.
type OnPlatform struct {
	Platform string
	Findings []Finding
}

// Join makes one list of what was found on several platforms. What is the same
// on some of them stands there once, with their names; with none where all have
// it. Its layer is that of the first.
func Join(all []OnPlatform) []Finding {
	var joined []Finding
	index := map[same]int{}
	for _, one := range all {
		times := map[same]int{}
		for _, f := range one.Findings {
			kind := sameness(f)
			key := kind
			key.nth = times[kind] // what one image has twice stays two
			times[kind]++
			i, known := index[key]
			if !known {
				i = len(joined)
				index[key] = i
				f.Place.Platforms = nil
				joined = append(joined, f)
			}
			joined[i].Place.Platforms = append(joined[i].Place.Platforms, one.Platform)
		}
	}
	for i := range joined {
		if p := &joined[i].Place; len(p.Platforms) == len(all) {
			p.Platforms = nil
		} else {
			slices.Sort(p.Platforms)
		}
	}
	return joined
}

// same is what two findings share that differ in their platform alone.
type same struct {
	rule, message, fix, file, name, version string
	severity                                Severity
	line, nth                               int
}

func sameness(f Finding) same {
	return same{
		rule: f.Rule, message: f.Message, fix: f.Fix, file: f.Place.File, name: f.Place.Package, version: f.Place.Version,
		severity: f.Severity, line: f.Place.Line,
	}
}
