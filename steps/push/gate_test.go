package push

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/record"
	"github.com/imagewright/imagewright/internal/registry/registrytest"
)

func TestAnImageWithoutAPassingVerdictIsRefusedBeforeAnyRequest(t *testing.T) {
	for _, tc := range []struct {
		name string
		scan func(c *checkout)
		want string
	}{
		{"no scan", func(c *checkout) { c.must(record.Remove(c.workspace(), "scan")) }, "no scan verdict"},
		{"another image's verdict", func(c *checkout) {
			c.record("scan", &record.Scan{Digest: "sha256:" + strings.Repeat("ab", 32), Verdict: record.Pass})
		}, "sha256:abab"},
		{"it failed", func(c *checkout) {
			c.record("scan", &record.Scan{Digest: c.digest, Verdict: record.Fail, Counts: map[string]int{"HIGH": 5, "CRITICAL": 2}})
		}, "2 CRITICAL, 5 HIGH"},
		{"a verdict nobody knows", func(c *checkout) { c.record("scan", &record.Scan{Digest: c.digest, Verdict: "PASS"}) }, "did not pass"},
		{"built again since", func(c *checkout) {
			c.build(0)
			c.record("tag", &record.Tag{Digest: c.digest, Tags: []string{"v1.0.0"}})
		}, "scan verdict is for"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := registrytest.Start(t)
			c := newCheckout(t, 0, "v1.0.0")
			tc.scan(c)
			code, _, stderr := c.push("--images=" + s.Host + "/app")
			if code != 3 || !strings.Contains(stderr, tc.want) || !strings.Contains(stderr, c.digest) {
				t.Errorf("exit %d, %s; want 3, %q and the digest", code, stderr, tc.want)
			}
			if got := s.Requests(); len(got) > 0 {
				t.Errorf("the registry was asked %v", got)
			}
			if code, _, stderr := c.push("--images="+s.Host+"/app", "--scan-gate=warn"); code != 0 || !strings.Contains(stderr, tc.want) {
				t.Errorf("scan-gate=warn: exit %d, %s; want 0 and a warning", code, stderr)
			}
		})
	}
}

func TestInputsThatMakeNoSense(t *testing.T) {
	s := registrytest.Start(t)
	for _, tc := range []struct {
		name    string
		args    []string
		environ []string
		code    int
		want    string
	}{
		{"no images", nil, nil, 2, "input images"},
		{"a tag in images", []string{"--images=" + s.Host + "/app:v1"}, nil, 2, "has a tag"},
		{"no repository", []string{"--images=UPPER/Case"}, nil, 2, `"UPPER/Case"`},
		{"no jobs", []string{"--images=" + s.Host + "/app", "--jobs=0"}, nil, 2, "from 1 to 64"},
		{"a bad tag", []string{"--images=" + s.Host + "/app", "--tags=v1:2"}, nil, 2, "v1:2"},
		{"a tag for machines", []string{"--images=" + s.Host + "/app", "--tags=sha256-" + strings.Repeat("a", 64)}, nil, 2, "sha256-"},
		{"a user without a password", []string{"--images=" + s.Host + "/app", "--username=ci"}, nil, 2, "IMAGEWRIGHT_PUSH_PASSWORD"},
		{"a CA bundle that is not there", []string{"--images=" + s.Host + "/app", "--ca-bundle=gone.pem"}, nil, 2, "gone.pem"},
		{"a fork", []string{"--images=" + s.Host + "/app"}, []string{"GITLAB_CI=true", "CI_MERGE_REQUEST_IID=1", "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH=mallory/hello", "CI_PROJECT_PATH=acme/hello"}, 3, "fork"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCheckout(t, 0, "v1.0.0")
			code, _, stderr := c.pushWith(t.Context(), tc.environ, tc.args...)
			if code != tc.code || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit %d, %s; want %d and %q", code, stderr, tc.code, tc.want)
			}
		})
	}
	if got := s.Requests(); len(got) > 0 {
		t.Errorf("the registry was asked %v", got)
	}
}

func TestRecordsThatDoNotFitTogether(t *testing.T) {
	other := "sha256:" + strings.Repeat("cd", 32)
	for _, tc := range []struct {
		name  string
		spoil func(c *checkout)
		code  int
		want  string
	}{
		{"nothing was built", func(c *checkout) { c.must(record.Remove(c.workspace(), "build")) }, 2, "imagewright-build"},
		{"the record names another image", func(c *checkout) { c.record("build", &record.Build{Image: record.Image{Digest: other}}) }, 1, other},
		{"no tags", func(c *checkout) { c.must(record.Remove(c.workspace(), "tag")) }, 2, "imagewright-tag"},
		{"tags of another image", func(c *checkout) { c.record("tag", &record.Tag{Digest: other, Tags: []string{"v1"}}) }, 2, other},
		{"a newer record", func(c *checkout) {
			c.must(os.WriteFile(filepath.Join(c.workspace(), "record", "scan.json"), []byte(`{"version":99}`), 0o644))
		}, 2, "99"},
		{"a damaged record", func(c *checkout) {
			c.must(os.WriteFile(filepath.Join(c.workspace(), "record", "scan.json"), []byte(`{`), 0o644))
		}, 1, "scan.json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCheckout(t, 0, "v1.0.0")
			tc.spoil(c)
			code, _, stderr := c.push("--images=127.0.0.1:1/app")
			if code != tc.code || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit %d, %s; want %d and %q", code, stderr, tc.code, tc.want)
			}
		})
	}
}
