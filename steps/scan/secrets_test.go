package scan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/imagewright/imagewright/internal/finding"
	"github.com/imagewright/imagewright/steps/scan/analysis"
	"github.com/imagewright/imagewright/test/images"
)

func TestASecretHasItsLayerAndItsInstruction(t *testing.T) {
	layers := ftypes.Layers{{DiffID: "sha256:aa", CreatedBy: "ADD rootfs.tar /"}, {DiffID: "sha256:bb", CreatedBy: "COPY . /app # buildkit"}, {DiffID: "sha256:cc", CreatedBy: "RUN /bin/sh -c rm /app/.env # buildkit"}}
	key := types.DetectedSecret{RuleID: "aws-access-key-id", Severity: "CRITICAL", Title: "AWS Access Key ID", StartLine: 3, EndLine: 3, Match: " key=****\n", Layer: layers[1]}
	for _, tc := range []struct {
		name   string
		target string
		in     *traces
		want   finding.Finding
	}{
		{"in a file", "/app/.env", &traces{layers: layers}, finding.Finding{
			Message: "AWS Access Key ID: key=****",
			Place:   finding.Place{File: "app/.env", Line: 3, EndLine: 3, Layer: "sha256:bb", LayerNumber: 2, Instruction: "COPY . /app"},
		}},
		{"in a file that is gone", "/app/.env", &traces{layers: layers, removed: map[fileIn]int{{"app/.env", "sha256:bb"}: 3}}, finding.Finding{
			Message: "AWS Access Key ID (removed by layer 3, still in the image): key=****",
			Place:   finding.Place{File: "app/.env", Line: 3, EndLine: 3, Layer: "sha256:bb", LayerNumber: 2, Instruction: "COPY . /app"},
		}},
		{"in the configuration", "config.json", &traces{layers: layers, discreet: true}, finding.Finding{
			Message: "AWS Access Key ID in the image's configuration: key=****",
			Place:   finding.Place{File: "config.json", Line: 3, EndLine: 3, Layer: "sha256:bb", LayerNumber: 2, Instruction: "COPY"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Kind, tc.want.Severity, tc.want.Rule, tc.want.Title = finding.Secret, finding.Critical, "aws-access-key-id", "AWS Access Key ID"
			tc.want.Match, tc.want.Fix = "key=****", "revoke it, and build without it"
			got := findings(types.Results{{Target: tc.target, Class: types.ClassSecret, Secrets: []types.DetectedSecret{key}}}, tc.in)
			if diff := cmp.Diff([]finding.Finding{tc.want}, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInstructionsReadLikeTheDockerfile(t *testing.T) {
	for history, want := range map[string]string{
		"":                       "",
		"COPY . /app # buildkit": "COPY . /app",
		"RUN /bin/sh -c apt-get update # buildkit": "RUN apt-get update",
		"apt-get update": "apt-get update", // of docker build, as analysis shortens it
		"RUN |2 TOKEN=canary USER=a b /bin/sh -c make -c x # buildkit": "RUN make -c x",
		"|1 TOKEN=canary /bin/bash -o pipefail -c make":                "RUN make",
		"RUN |1 TOKEN=canary powershell make":                          "RUN",
		"RUN  /bin/sh  -c  set -eux; \t make":                          "RUN set -eux; make",
	} {
		got := strings.TrimSpace(instruction(history))
		if got != want || strings.Contains(got, "canary") {
			t.Errorf("instruction(%q) = %q, want %q", history, got, want)
		}
	}
}

// In a file, in one that a later layer removes, and in the environment, which
// nothing that is written may repeat.
func TestASecretIsFoundWhereverItIs(t *testing.T) {
	const canary = "AKIA0123456789ABCDEF"
	key := map[string]string{"opt/key": "export AWS_ACCESS_KEY_ID=" + canary + "\n"}
	for _, tc := range []struct {
		name  string
		files []map[string]string
		env   []string
		want  string // in the table
	}{
		{"in a file", []map[string]string{key}, nil, "opt/key:1"},
		{"in a file that is gone", []map[string]string{key, {"opt/.wh.key": ""}}, nil, "AWS Access Key ID (removed by layer 3, still in the image): export AWS"},
		{"in the environment", nil, []string{"AWS_ACCESS_KEY_ID=" + canary}, "AWS Access Key ID in the image's configuration: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCheckout(t)
			img := compose(t, append([]map[string]string{debian(dpkgClean)}, tc.files...)...)
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			config = config.DeepCopy()
			config.Config.Env = tc.env
			if img, err = mutate.ConfigFile(img, config); err != nil {
				t.Fatal(err)
			}
			if err := images.WriteArchive(filepath.Join(c.dir, "it.tar"), img); err != nil {
				t.Fatal(err)
			}
			r := c.scan(t, "--source=it.tar", "--reports="+strings.Join([]string{"json=out.json", "sarif=out.sarif", "gitlab=out.gitlab.json", "junit=out.xml", "spdx-json=out.spdx.json"}, "\n"))
			r.wantCode(t, 3)
			wantText(t, "stdout", r.stdout, "CRITICAL  aws-access-key-id", tc.want)
			for _, name := range []string{"out.json", "out.sarif", "out.gitlab.json", "out.xml", "out.spdx.json"} {
				data, err := os.ReadFile(filepath.Join(c.dir, name))
				if err != nil || strings.Contains(string(data)+r.stdout+r.stderr, canary) {
					t.Errorf("%s or the log has the secret in clear (%v)", name, err)
				}
			}
		})
	}
}

// A file by its name, one in the layer that the next removes.
func TestSensitiveFilesAreFindings(t *testing.T) {
	c := newCheckout(t)
	c.build(t, debian(dpkgClean), map[string]string{"app/.env": "PASSWORD=x\n", "root/.aws/credentials": "[default]\n"}, map[string]string{"app/.wh..env": ""})
	r := c.scan(t)
	r.wantCode(t, 3)
	wantText(t, "stdout", r.stdout, "CRITICAL  sensitive-aws-credentials  root/.aws/credentials  2, COPY test /", "MEDIUM    sensitive-dotenv           app/.env",
		"(removed by layer 3, still in the image)", "1 CRITICAL, 1 MEDIUM; fail-on critical: fail")
	c.scan(t, "--scanners=vuln").wantCode(t, 0)
	c.write(t, ".trivyignore", "sensitive-aws-credentials # a placeholder\n")
	c.scan(t).wantCode(t, 0)
}

func TestEveryKindOfSensitiveFileHasARule(t *testing.T) {
	for _, kind := range []analysis.SensitiveKind{
		analysis.PrivateKey, analysis.DotEnv, analysis.GitDirectory, analysis.AWSCredentials, analysis.NpmToken,
		analysis.DockerCredentials, analysis.Netrc, analysis.PyPICredentials, analysis.KubeConfig,
	} {
		if severity, title := sensitiveRule(kind); severity == "UNKNOWN" || title == string(kind) {
			t.Errorf("kind %s has no rule", kind)
		}
	}
}
