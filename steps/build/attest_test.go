package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/internal/record"
)

func TestAttestationsAreWantedAsBuildPushActionHasIt(t *testing.T) {
	const run = "https://ci.example.com/run/7"
	for _, tc := range []struct {
		name string
		in   Results
		want map[string]string
		sbom bool
	}{
		{"nothing", Results{}, map[string]string{}, false},
		{"provenance", Results{Provenance: "true"}, map[string]string{"attest:provenance": "builder-id=" + run}, false},
		{"no provenance", Results{Provenance: "false", Attests: []string{"type=provenance,mode=max"}}, map[string]string{}, false},
		{"the input wins", Results{Provenance: "mode=max", Attests: []string{"type=provenance,mode=min,builder-id=x"}}, map[string]string{"attest:provenance": "builder-id=" + run + ",mode=max"}, false},
		{"the user's builder", Results{Attests: []string{"type=provenance,mode=min,builder-id=x,version=v0.2"}}, map[string]string{"attest:provenance": "builder-id=x,mode=min,version=v0.2"}, false},
		{"inline only is how it is in any case", Results{Provenance: "mode=min,inline-only=true"}, map[string]string{"attest:provenance": "builder-id=" + run + ",mode=min"}, false},
		{"disabled", Results{Attests: []string{"type=provenance,disabled=true", "type=sbom,disabled=true"}}, map[string]string{}, false},
		{"a list of packages", Results{SBOM: "true"}, map[string]string{}, true},
		{"a list by attests", Results{Attests: []string{"type=sbom"}}, map[string]string{}, true},
		{"no list", Results{SBOM: "false", Attests: []string{"type=sbom"}}, map[string]string{}, false},
		{"a generator", Results{SBOM: "generator=ghcr.io/acme/scanner:1"}, map[string]string{"attest:sbom": "generator=ghcr.io/acme/scanner:1"}, false},
		{"its parameters", Results{Attests: []string{`type=sbom,generator=acme/scanner,"SELECT=a,b"`}}, map[string]string{"attest:sbom": `generator=acme/scanner,"select=a,b"`}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseAttestations(tc.in, run)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.attrs); diff != "" || got.sbom != tc.sbom {
				t.Errorf("asks for %v (-want +got), and scan %v, want %v:\n%s", got.attrs, got.sbom, tc.sbom, diff)
			}
		})
	}
}

func TestBadAttestationsAreUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   Results
		want string
	}{
		{"mode", Results{Provenance: "mode=most"}, `input provenance: attribute mode: "most" is not accepted; want min or max`},
		{"word", Results{Provenance: "yes please"}, "input provenance: an attribute has no value"},
		{"attribute", Results{Provenance: "moed=max"}, "attribute moed is not known for type=provenance"},
		{"type", Results{Attests: []string{"type=vex"}}, `input attests, entry 1: type "vex" is not accepted; want provenance or sbom`},
		{"twice", Results{Attests: []string{"type=sbom", "type=sbom"}}, "input attests, entry 2: type sbom is given twice"},
		{"generator", Results{SBOM: "generator=Not An Image"}, "input sbom: attribute generator"},
		{"parameter without a generator", Results{SBOM: "depth=2"}, "attribute depth is not known for type=sbom"},
		{"a parameter that is no name", Results{SBOM: "generator=a,x y=1"}, "attribute x y: its name is not made of letters"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parseAttestations(tc.in, "")
			if err == nil || !strings.Contains(err.Error(), tc.want) || fault.Code(err) != fault.ExitUsage {
				t.Errorf("error %v, want a usage error with %q", err, tc.want)
			}
		})
	}
}

// putBlob stores a document, or a statement, as a builder does.
func putBlob(t *testing.T, layout *image.Layout, kind types.MediaType, content any) v1.Descriptor {
	t.Helper()
	raw, ok := content.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(content); err != nil {
			t.Fatal(err)
		}
	}
	digest, size, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	desc := v1.Descriptor{MediaType: kind, Digest: digest, Size: size}
	if err := layout.Put(desc, bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	return desc
}

// attest stores statements as an attestation of the image of.
func attest(t *testing.T, layout *image.Layout, of v1.Descriptor, kind types.MediaType, statements ...string) v1.Descriptor {
	t.Helper()
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: putBlob(t, layout, types.OCIConfigJSON, []byte("{}"))}
	for _, s := range statements {
		manifest.Layers = append(manifest.Layers, putBlob(t, layout, kind, []byte(s)))
	}
	desc := putBlob(t, layout, types.OCIManifestSchema1, manifest)
	desc.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": of.Digest.String()}
	return desc
}

// described is a made up image of platform.
func described(digit, architecture string) v1.Descriptor {
	return v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(digit, 64)},
		Platform: &v1.Platform{OS: "linux", Architecture: architecture},
	}
}

func emptyLayout(t *testing.T) (*image.Layout, string) {
	t.Helper()
	workspace := t.TempDir()
	layout, err := image.CreateLayout(filepath.Join(workspace, "image"))
	if err != nil {
		t.Fatal(err)
	}
	return layout, workspace
}

func provenanceOf(hex string) string {
	subjects := ""
	if hex != "" {
		subjects = `{"name":"pkg:docker/app@1","digest":{"sha256":"` + hex + `"}}`
	}
	return `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","subject":[` + subjects + `],"predicate":{"of":"<` + hex + `>"}}`
}

const packagesList = `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://spdx.dev/Document","subject":[],"predicate":{}}`

// writeAttestations does with statements what keeping an image does.
func writeAttestations(layout *image.Layout, workspace string, found, built, final []v1.Descriptor) ([]record.Attestation, error) {
	said, err := readAttestations(layout, found, built, final)
	if err != nil {
		return nil, err
	}
	var all []record.Attestation
	for _, a := range said {
		all = append(all, a.recorded)
	}
	reports := filepath.Join(workspace, "reports")
	return all, errors.Join(writeStatements(reports, said), removeOldStatements(reports, said))
}

func TestStatementsSpeakOfTheImageThatIsKept(t *testing.T) {
	layout, workspace := emptyLayout(t)
	built := []v1.Descriptor{described("a", "amd64"), described("b", "arm64")}
	final := []v1.Descriptor{described("c", "amd64"), described("b", "arm64")} // the first was normalised
	found := []v1.Descriptor{
		attest(t, layout, built[0], statementType, provenanceOf(built[0].Digest.Hex), packagesList, strings.Replace(packagesList, "{}", `{"x":1}`, 1)),
		attest(t, layout, built[1], statementType, provenanceOf("")),
	}
	got, err := writeAttestations(layout, workspace, found, built, final)
	if err != nil {
		t.Fatal(err)
	}
	const slsa, spdx = "https://slsa.dev/provenance/v1", "https://spdx.dev/Document"
	want := []record.Attestation{
		{PredicateType: slsa, Path: "reports/provenance-linux-amd64.intoto.json", Digest: final[0].Digest.String(), Platform: "linux/amd64"},
		{PredicateType: spdx, Path: "reports/sbom-linux-amd64.intoto.json", Digest: final[0].Digest.String(), Platform: "linux/amd64"},
		{PredicateType: spdx, Path: "reports/sbom-linux-amd64-2.intoto.json", Digest: final[0].Digest.String(), Platform: "linux/amd64"},
		{PredicateType: slsa, Path: "reports/provenance-linux-arm64.intoto.json", Digest: final[1].Digest.String(), Platform: "linux/arm64"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("recorded (-want +got):\n%s", diff)
	}
	for _, a := range got {
		raw, err := os.ReadFile(filepath.Join(workspace, a.Path))
		if err != nil {
			t.Fatal(err)
		}
		var s statement
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		if len(s.Subject) != 1 || "sha256:"+s.Subject[0].Digest["sha256"] != a.Digest || s.PredicateType != a.PredicateType {
			t.Errorf("%s speaks of %v, want %s alone", a.Path, s.Subject, a.Digest)
		}
	}
	raw, err := os.ReadFile(filepath.Join(workspace, got[0].Path))
	if err != nil || !strings.Contains(string(raw), `"predicate":{"of":"<`+built[0].Digest.Hex+`>"}`) {
		t.Errorf("the predicate is not what the builder said (%v):\n%s", err, raw)
	}
}

func TestStatementsOfAnEarlierImageGo(t *testing.T) {
	layout, workspace := emptyLayout(t)
	built := []v1.Descriptor{described("a", "amd64")}
	found := []v1.Descriptor{attest(t, layout, built[0], statementType, provenanceOf(""))}
	if _, err := writeAttestations(layout, workspace, found, built, built); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(workspace, "reports", "scan.sarif")
	if err := os.WriteFile(kept, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := writeAttestations(layout, workspace, nil, built, built); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(workspace, "reports", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{kept}, left); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

func TestWhatIsNoStatementOfTheImageIsRefused(t *testing.T) {
	of := described("a", "amd64")
	for _, tc := range []struct {
		name      string
		subject   v1.Descriptor
		kind      types.MediaType
		statement string
		want      string
	}{
		{"another image's", described("f", "amd64"), statementType, provenanceOf(""), "it is of no image that was built"},
		{"speaks of another", of, statementType, provenanceOf(strings.Repeat("f", 64)), "it does not speak of the image that was built"},
		{"another type", of, types.OCILayer, provenanceOf(""), "only in-toto statements are known"},
		{"no JSON", of, statementType, "{", "unexpected end"},
		{"no statement", of, statementType, `{"_type":"x"}`, "is not that of an in-toto statement"},
		{"no predicate", of, statementType, `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p"}`, "it has no predicate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			layout, workspace := emptyLayout(t)
			found := []v1.Descriptor{attest(t, layout, tc.subject, tc.kind, tc.statement)}
			_, err := writeAttestations(layout, workspace, found, []v1.Descriptor{of}, []v1.Descriptor{of})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
			if left, _ := os.ReadDir(filepath.Join(workspace, "reports")); len(left) != 0 {
				t.Errorf("it was written: %v", left)
			}
		})
	}
}

func TestStatementsOfTheLastImageStayUntilThereIsAnother(t *testing.T) {
	layout, workspace := emptyLayout(t)
	last := []v1.Descriptor{described("a", "amd64")}
	if _, err := writeAttestations(layout, workspace, []v1.Descriptor{attest(t, layout, last[0], statementType, provenanceOf(""))}, last, last); err != nil {
		t.Fatal(err)
	}
	before := tree(t, workspace, "reports")
	next := []v1.Descriptor{described("b", "amd64")}
	said, err := readAttestations(layout, []v1.Descriptor{attest(t, layout, next[0], statementType, provenanceOf(""))}, next, next)
	if err != nil || len(said) != 1 {
		t.Fatalf("statements are %v, %v", said, err)
	}
	// Whatever goes wrong now, as where no root can be written:
	made := result{Root: v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}}, Said: said}
	if err := made.keep(workspace, layout, &record.Build{}); err == nil {
		t.Error("an image that is not there was kept")
	}
	if diff := cmp.Diff(before, tree(t, workspace, "reports")); diff != "" {
		t.Errorf("the reports have changed (-before +after):\n%s", diff)
	}
}
