package image

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestHistoryOfTheBaseKeepsItsDates(t *testing.T) {
	old, late, built := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), commitDate().AddDate(1, 0, 0), time.Now()
	at := func(times ...time.Time) (all []v1.History) {
		for i, t := range times {
			all = append(all, v1.History{CreatedBy: "step " + string(rune('a'+i)), Created: v1.Time{Time: t}, EmptyLayer: true})
		}
		return all
	}
	for name, tc := range map[string]struct {
		base, image []v1.History
		want        []time.Time
	}{
		"without a base":                        {nil, at(built, built), []time.Time{commitDate(), commitDate()}},
		"with one":                              {at(old), at(old, built), []time.Time{old, commitDate()}},
		"with one later than the commit":        {at(late), at(late, built), []time.Time{late, commitDate()}},
		"with an undated one":                   {at(time.Time{}, late, old), at(built, late, old, built), []time.Time{commitDate(), commitDate(), old, commitDate()}},
		"with another history than the image's": {append(at(old), v1.History{CreatedBy: "other"}), at(old, built, built), []time.Time{old, commitDate(), commitDate()}},
	} {
		t.Run(name, func(t *testing.T) {
			image := v1.ConfigFile{OS: "linux", Architecture: "amd64", History: tc.image, Created: tc.image[len(tc.image)-1].Created}
			raw := value[[]byte](t)(Normalization{Date: commitDate()}.config(value[[]byte](t)(json.Marshal(image)), nil, &v1.ConfigFile{History: tc.base}))
			made := value[*v1.ConfigFile](t)(v1.ParseConfigFile(bytes.NewReader(raw)))
			var got []time.Time
			for _, h := range made.History {
				got = append(got, h.Created.Time)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("dates (-want +got):\n%s", diff)
			}
			if last := tc.want[len(tc.want)-1]; !made.Created.Equal(last) {
				t.Errorf("the image is of %v, want %v", made.Created, last)
			}
		})
	}
}

func TestFieldsNobodyKnowsStayInTheConfig(t *testing.T) {
	raw := `{"architecture":"amd64","os":"linux","moby.buildkit.cache.v0":"eyJ9","config":{"Cmd":["a && b <c"],"ArgsEscaped":true},"created":"2020-01-01T00:00:00Z"}`
	got := string(value[[]byte](t)(Normalization{Date: commitDate()}.config([]byte(raw), nil, nil)))
	for _, want := range []string{`"moby.buildkit.cache.v0":"eyJ9"`, `"ArgsEscaped":true`, `"created":"2020-01-01T00:00:00Z"`} {
		if !strings.Contains(got, want) {
			t.Errorf("config %s has no %s", got, want)
		}
	}
}

func TestAConfigThatIsNullIsAnError(t *testing.T) {
	if got, err := (Normalization{Date: commitDate()}).config([]byte("null"), nil, nil); err == nil {
		t.Errorf("it became %s", got)
	}
}

func TestAnnotationsAreAddedToTheManifest(t *testing.T) {
	layout := emptyLayout(t)
	root := putLayers(t, layout, "amd64", packs()["gzip"], makeTar(t))
	made := value[v1.Descriptor](t)(Normalize(t.Context(), layout, root, Normalization{Date: commitDate(), Annotations: map[string]string{"a": "b"}}))
	manifest := value[*v1.Manifest](t)(value[v1.Image](t)(layout.Image(made.Digest)).Manifest())
	if diff := cmp.Diff(map[string]string{"a": "b"}, manifest.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}
