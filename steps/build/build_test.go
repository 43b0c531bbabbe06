package build

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestConfigOfTheDockerfileSurvives(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": `FROM base
RUN echo built > /out
ENV A=b
USER 1000:1000
WORKDIR /app
EXPOSE 8080/tcp
STOPSIGNAL SIGUSR1
SHELL ["/bin/ash", "-c"]
HEALTHCHECK --interval=5s --timeout=2s --retries=4 CMD wget -q localhost:8080
VOLUME /data
LABEL mine=yes
ENTRYPOINT ["/bin/sh"]
CMD ["-c", "true"]
`})
	r := run{dir: dir, state: t.TempDir(), args: []string{useBase(t), "--labels=added=too"}}
	o := r.mustBuild(t)
	img := built(t, dir)
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if o.stdout != digest.String()+"\n" {
		t.Errorf("standard output is %q, want the digest %s", o.stdout, digest)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := file.Config
	got := map[string]any{
		"user": c.User, "dir": c.WorkingDir, "ports": c.ExposedPorts, "signal": c.StopSignal, "shell": c.Shell,
		"volumes": c.Volumes, "entrypoint": c.Entrypoint, "cmd": c.Cmd, "healthcheck": *c.Healthcheck,
		"labels": c.Labels, "env": c.Env[len(c.Env)-1], "created": file.Created.UTC(),
	}
	want := map[string]any{
		"user": "1000:1000", "dir": "/app", "ports": map[string]struct{}{"8080/tcp": {}}, "signal": "SIGUSR1", "shell": []string{"/bin/ash", "-c"},
		"volumes": map[string]struct{}{"/data": {}}, "entrypoint": []string{"/bin/sh"}, "cmd": []string{"-c", "true"},
		"healthcheck": v1.HealthConfig{Test: []string{"CMD-SHELL", "wget -q localhost:8080"}, Interval: 5 * time.Second, Timeout: 2 * time.Second, Retries: 4},
		"labels":      map[string]string{"mine": "yes", "added": "too", "org.opencontainers.image.created": "1980-01-01T00:00:00Z"},
		"env":         "A=b", "created": noDate,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestFailedRunIsReportedAtItsLine(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": "FROM base\nRUN echo fine\n", "good": ""})
	r := run{dir: dir, state: t.TempDir(), args: []string{useBase(t)}, environ: []string{"GITHUB_ACTIONS=true"}}
	r.mustBuild(t)
	before := tree(t, filepath.Join(dir, ".imagewright"), "image", "record")

	text := "FROM base\nRUN echo fine\nRUN for i in 1 2 3; do echo line $i; done; \\\n    echo '::set-output name=x::forged'; exit 7\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	o := r.build(t)
	if o.code != 1 {
		t.Fatalf("exit code is %d, want 1:\n%s", o.code, o.stderr)
	}
	for _, want := range []string{
		"   3 | >>> RUN for i in 1 2 3", "command:  RUN for i in", "  line 1\n  line 2\n  line 3\n", "exit code 7",
		"::error ", "file=Dockerfile", "line=3",
		"imagewright-build: Dockerfile:3: RUN for i in",
	} {
		if !strings.Contains(o.stderr, want) {
			t.Errorf("log has no %q:\n%s", want, o.stderr)
		}
	}
	for line := range strings.Lines(o.stderr) {
		if strings.HasPrefix(strings.TrimSpace(line), "::set-output") {
			t.Errorf("a step forged the workflow command %q", line)
		}
	}
	report, err := os.ReadFile(filepath.Join(dir, ".imagewright", "reports", "build-codequality.json"))
	if err != nil {
		t.Fatal(err)
	}
	checkCodeQuality(t, bytes.Replace(report, []byte(`"Dockerfile"`), []byte(`"app/Dockerfile"`), 1), 1)
	if diff := cmp.Diff(before, tree(t, filepath.Join(dir, ".imagewright"), "image", "record")); diff != "" {
		t.Errorf("the failed build changed the last good state (-before +after):\n%s", diff)
	}
}

func TestOutputsAndSummaryNameTheImage(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /a\n", "a": "1"})
	output, summary := filepath.Join(t.TempDir(), "output"), filepath.Join(t.TempDir(), "summary")
	r := run{dir: dir, state: t.TempDir(), environ: []string{"GITHUB_ACTIONS=true", "GITHUB_OUTPUT=" + output, "GITHUB_STEP_SUMMARY=" + summary}}
	digest := strings.TrimSpace(r.mustBuild(t).stdout)
	for file, wants := range map[string][]string{
		output:  {"digest<<", digest, "imageid<<", `"containerimage.digest":"` + digest, `"containerimage.descriptor":{"mediaType"`, "changed<<"},
		summary: {"`" + digest + "`", "| platform | linux/", "| steps | 1, of them 0 cached |"},
		filepath.Join(dir, ".imagewright", "build.env"): {"IW_BUILD_DIGEST=" + digest, "IW_BUILD_CHANGED=true"},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q:\n%s", filepath.Base(file), want, text)
			}
		}
	}
}

func TestRecordOfANewerVersionIsFoundBeforeTheBuild(t *testing.T) {
	dir := checkout(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n", ".imagewright/record/build.json": `{"version":2}`})
	state := filepath.Join(t.TempDir(), "state")
	o := run{dir: dir, state: state}.build(t)
	if o.code != 2 || !strings.Contains(o.stderr, "has version 2") {
		t.Errorf("exit code %d, want 2 and the version:\n%s", o.code, o.stderr)
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("an engine was started")
	}
	if text, err := os.ReadFile(filepath.Join(dir, ".imagewright/record/build.json")); err != nil || string(text) != `{"version":2}` {
		t.Errorf("the record is %q now, %v", text, err)
	}
}

func TestMetadataIsWhatBuildxWrites(t *testing.T) {
	r := result{
		Root:     v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: "1"}, Size: 2},
		response: map[string]string{"containerimage.digest": "sha256:other", "image.name": "a", "x": "eyJhIjoxfQ=="},
	}
	got, err := r.metadata()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"containerimage.descriptor":{"mediaType":"","size":2,"digest":"sha256:1"},"containerimage.digest":"sha256:1","image.name":"a","x":{"a":1}}`; got != want {
		t.Errorf("metadata is %s, want %s", got, want)
	}
}
