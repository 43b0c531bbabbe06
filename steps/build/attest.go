package build

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"

	"github.com/imagewright/imagewright/internal/fault"
)

const (
	provenanceKind = "provenance"
	sbomKind       = "sbom"
	otherKind      = "attestation" // what another frontend says
)

// attestations are what is to be said about the image, beside it. Nothing is
// unless it is asked for: the image's digest would be the same, but a statement
// holds times, and build arguments, that not everybody wants to hand on.
type attestations struct {
	attrs map[string]string // for the builder and its frontend
	sbom  bool              // scan lists the packages, push attaches the list
}

// parseAttestations reads attests, and provenance and sbom, which win over it.
// builderID is the address of this run, which provenance names as the builder
// unless the user names another; it may be empty. Errors are usage errors.
func parseAttestations(in Results, builderID string) (attestations, error) {
	wanted := map[string]map[string]string{} // attributes by kind; absent is not wanted
	for i, record := range in.Attests {
		kind, attrs, err := parseAttest(record)
		if _, twice := wanted[kind]; err == nil && twice {
			err = fmt.Errorf("type %s is given twice", kind)
		}
		if err != nil {
			return attestations{}, fault.Usage(fmt.Errorf("input attests, entry %d: %w", i+1, err), "")
		}
		wanted[kind] = attrs
	}
	for _, input := range []struct{ kind, value string }{{provenanceKind, in.Provenance}, {sbomKind, in.SBOM}} {
		if input.value == "" {
			continue
		}
		attrs, err := attestInput(input.kind, input.value)
		if err != nil {
			return attestations{}, fault.Usage(fmt.Errorf("input %s: %w", input.kind, err), "")
		}
		wanted[input.kind] = attrs
	}
	a := attestations{attrs: map[string]string{}}
	if attrs, ok := wanted[provenanceKind]; ok && !disabled(attrs) {
		if attrs["builder-id"] == "" && builderID != "" {
			attrs["builder-id"] = builderID
		}
		// It keeps statements out of layouts, where none of ours gets anyway.
		delete(attrs, "inline-only")
		a.attrs["attest:"+provenanceKind] = csvRecord(attrs)
	}
	if attrs, ok := wanted[sbomKind]; ok && !disabled(attrs) {
		// Without a generator, BuildKit would pull one that nobody named.
		if a.sbom = attrs["generator"] == ""; !a.sbom {
			a.attrs["attest:"+sbomKind] = csvRecord(attrs)
		}
	}
	return a, nil
}

// disabled tells whether attrs say no, and takes that word out of them.
func disabled(attrs map[string]string) bool {
	no, _ := strconv.ParseBool(attrs["disabled"]) // checked before
	delete(attrs, "disabled")
	return no
}

// attestInput reads the value of the input provenance or sbom: true, false, or
// the attributes that a record of attests would have.
func attestInput(kind, value string) (map[string]string, error) {
	if yes, err := strconv.ParseBool(value); err == nil {
		return map[string]string{"disabled": strconv.FormatBool(!yes)}, nil
	}
	attrs, err := csvAttrs(value)
	if err != nil {
		return nil, fmt.Errorf("%w, true or false", err)
	}
	return attrs, checkAttestation(kind, attrs)
}

func parseAttest(record string) (string, map[string]string, error) {
	attrs, err := csvAttrs(record)
	if err != nil {
		return "", nil, err
	}
	kind := attrs["type"]
	delete(attrs, "type")
	return kind, attrs, checkAttestation(kind, attrs)
}

func checkAttestation(kind string, attrs map[string]string) error {
	known := map[string]checkAttr{"disabled": isBool}
	switch kind {
	case provenanceKind:
		maps.Copy(known, map[string]checkAttr{
			"mode": oneOf("min", "max"), "version": oneOf("v0.2", "v1"), "builder-id": notEmpty,
			"reproducible": isBool, "inline-only": isBool, "complete-materials": isBool,
		})
	case sbomKind:
		known["generator"] = isReference
		if attrs["generator"] == "" {
			break
		}
		for key := range attrs { // what it does not know are the generator's own parameters
			if known[key] == nil {
				known[key] = isParameter(key)
			}
		}
	default:
		known = nil
	}
	return checkAttrs(kind, attrs, known, "provenance or sbom")
}

// parameter is a name that a generator finds in its environment.
var parameter = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

func isParameter(key string) checkAttr {
	return func(string) error {
		if !parameter.MatchString(key) {
			return errors.New("its name is not made of letters, digits, dots, dashes and underscores")
		}
		return nil
	}
}
