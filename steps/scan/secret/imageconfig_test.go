package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	trivy "github.com/aquasecurity/trivy/pkg/fanal/secret"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestTheConfigurationIsScannedAsTrivyDoes(t *testing.T) {
	for _, commands := range []int{1, 3000} { // of the latter it takes several chunks
		t.Run(fmt.Sprint(commands), func(t *testing.T) { compareConfig(t, commands) })
	}
}

func compareConfig(t *testing.T, commands int) {
	config := v1.ConfigFile{
		OS: "linux", Architecture: "amd64",
		Config: v1.Config{
			Env:    []string{"PATH=/bin", "AWS_ACCESS_KEY_ID=AKIA0123456789ABCDEF", "TOKEN=" + token},
			Labels: map[string]string{"note": "<" + token + ">"},
		},
		History: []v1.History{{CreatedBy: "RUN curl -H 'Authorization: " + token + "' https://example.com"}, {CreatedBy: "COPY . ."}},
	}
	for range commands {
		config.History = append(config.History, v1.History{CreatedBy: "RUN echo " + strings.Repeat("x", 30), Comment: "a"})
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	got, err := newScanner(t, "").Config(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := v1.ParseConfigFile(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	text, err = json.MarshalIndent(parsed, "  ", "")
	if err != nil {
		t.Fatal(err)
	}
	trivys := newJudge(t, "")
	want := trivys.Scan(trivy.ScanArgs{FilePath: "config.json", Content: bytes.NewReader(text)})
	if len(want.Findings) < 3 {
		t.Errorf("Trivy finds only %d secrets", len(want.Findings))
	}
	if got.FilePath != want.FilePath {
		t.Errorf("the path is %q, want %q", got.FilePath, want.FilePath)
	}
	if diff := difference(want.Findings, got.Findings); diff != "" {
		t.Errorf("findings (-Trivy +ours):\n%s", diff)
	}
}

func TestAConfigurationWithoutSecretsHasNone(t *testing.T) {
	for _, config := range []string{"", "allow-rules: [{id: all, path: '^config'}]"} {
		got, err := newScanner(t, config).Config(t.Context(), []byte(`{"config": {"Env": ["PATH=/bin"]}}`))
		if err != nil || got.FilePath != "" || got.Findings != nil {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if _, err := newScanner(t, "").Config(t.Context(), []byte(`{`)); err == nil {
		t.Error("half a configuration is no error")
	}
}
