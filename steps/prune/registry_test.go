package prune

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	remotely "github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/imagewright/imagewright/internal/registry"
	"github.com/imagewright/imagewright/internal/registry/registrytest"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/internal/version"
)

// startRegistry returns a repository of a registry of its own.
func startRegistry(t *testing.T) (*registrytest.Server, name.Repository) {
	t.Helper()
	server := registrytest.Start(t)
	repo, err := name.NewRepository(server.Host+"/app", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return server, repo
}

func connect(t *testing.T, repo name.Repository) remote {
	t.Helper()
	client, err := registry.New(registry.Options{Access: registry.Delete, MaxRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	return remote{client, repo}
}

// pushImage pushes an image of its own under each tag and returns its digest.
func pushImage(t *testing.T, repo name.Repository, tags ...string) v1.Hash {
	t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range tags {
		if err := remotely.Write(repo.Tag(tag), img); err != nil {
			t.Fatalf("push %s: %v", tag, err)
		}
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// pushIndex pushes an index of the manifests that tags point to.
func pushIndex(t *testing.T, repo name.Repository, tag string, children ...string) v1.Hash {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	for _, child := range children {
		img, err := remotely.Image(repo.Tag(child))
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img})
	}
	if err := remotely.WriteIndex(repo.Tag(tag), index); err != nil {
		t.Fatalf("push %s: %v", tag, err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

var keepOne = Policy{KeepLast: 1, Classes: []version.Class{version.Version}}

func mustTake(t *testing.T, repo remote) *Snapshot {
	t.Helper()
	s, err := take(t.Context(), repo.repo.String(), repo)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tagsOf(s *Snapshot) []string {
	var tags []string
	for tag := range s.Tags {
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	return tags
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestApplyDeletesThePlanAndNothingElse(t *testing.T) {
	_, at := startRegistry(t)
	pushImage(t, at, "v1.0.0-20260101-aaaaaaa", "stable") // another tag keeps the manifest
	gone := pushImage(t, at, "v1.1.0")
	pushImage(t, at, "amd", "arm")
	pushIndex(t, at, "v2.0.0", "amd", "arm")
	pushImage(t, at, "v1.2.0")
	child := pushImage(t, at, "v1.3.0") // also a child of the kept index
	pushIndex(t, at, "v3.0.0", "v1.3.0", "v1.2.0")

	repo := connect(t, at)
	plan := Decide(mustTake(t, repo), keepOne, time.Now())
	done, err := apply(t.Context(), plan, repo, quiet())
	if err != nil {
		t.Fatal(err)
	}
	after := mustTake(t, repo)
	if diff := cmp.Diff([]string{"amd", "arm", "stable", "v3.0.0"}, tagsOf(after)); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if _, _, err := repo.Manifest(t.Context(), gone); !registry.IsNotFound(err) {
		t.Errorf("v1.1.0's manifest: %v, want it gone", err)
	}
	if _, _, err := repo.Manifest(t.Context(), child); err != nil {
		t.Errorf("a child of the kept index is gone: %v", err)
	}
	for digest, node := range after.Nodes {
		if node.Missing {
			t.Errorf("%s is missing", digest)
		}
	}
	if done.Untagged != 5 || done.Deleted != 2 {
		t.Errorf("%d untagged, %d deleted; want 5 and 2 (v1.1.0 and the index v2.0.0)", done.Untagged, done.Deleted)
	}
	again := Decide(after, keepOne, time.Now())
	if len(again.Untag)+len(again.Delete) != 0 {
		t.Errorf("a second plan is not empty: %+v", again)
	}
}

// meddling is a registry where somebody else acts at the moment of a request.
type meddling struct {
	remote
	beforeUntag func(tag string)
	afterDelete func()
	killAfter   int // requests that change something; then the process is "dead"
}

var errKilled = errors.New("killed")

func (m *meddling) Untag(ctx context.Context, tag string) error {
	if m.beforeUntag != nil {
		m.beforeUntag(tag)
	}
	if m.killAfter--; m.killAfter == -1 {
		return errKilled
	}
	return m.remote.Untag(ctx, tag)
}

func (m *meddling) Delete(ctx context.Context, digest v1.Hash) error {
	if m.killAfter--; m.killAfter == -1 {
		return errKilled
	}
	if m.afterDelete != nil {
		defer m.afterDelete()
	}
	return m.remote.Delete(ctx, digest)
}

func TestATagThatMovedMeanwhileIsLeftAlone(t *testing.T) {
	_, at := startRegistry(t)
	pushImage(t, at, "v1.0.0")
	pushImage(t, at, "v2.0.0")
	repo := connect(t, at)
	plan := Decide(mustTake(t, repo), keepOne, time.Now())
	moved := pushImage(t, at, "v1.0.0")
	done, err := apply(t.Context(), plan, repo, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if got := mustTake(t, repo).Tags["v1.0.0"]; got != moved {
		t.Errorf("v1.0.0 is %s, want the moved one %s", got, moved)
	}
	if len(done.Skipped) != 1 || !strings.Contains(done.Skipped[0], "v1.0.0: it points to "+moved.String()) {
		t.Errorf("skipped says %q", done.Skipped)
	}
}

func TestARollbackToADoomedImageSavesIt(t *testing.T) {
	_, at := startRegistry(t)
	doomed := pushImage(t, at, "v1.0.0")
	pushImage(t, at, "v2.0.0", "prod")
	repo := &meddling{remote: connect(t, at), killAfter: 1 << 30}
	plan := Decide(mustTake(t, repo.remote), keepOne, time.Now())
	repo.beforeUntag = func(string) { // the moment after the plan, before the delete
		img, err := remotely.Image(at.Digest(doomed.String()))
		if err == nil {
			err = remotely.Tag(at.Tag("prod"), img)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := apply(t.Context(), plan, repo, quiet()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := repo.Manifest(t.Context(), doomed); err != nil {
		t.Errorf("prod's image is gone: %v", err)
	}
}

func TestKilledAtAnyRequestNothingKeptIsLostAndARerunFinishes(t *testing.T) {
	for kill := range 6 {
		_, at := startRegistry(t)
		pushImage(t, at, "a")
		pushIndex(t, at, "v1.0.0", "a")
		pushImage(t, at, "v1.1.0")
		pushIndex(t, at, "v2.0.0", "a")
		repo := &meddling{remote: connect(t, at), killAfter: kill}
		plan := Decide(mustTake(t, repo.remote), keepOne, time.Now())
		if _, err := apply(t.Context(), plan, repo, quiet()); err != nil && !errors.Is(err, errKilled) {
			t.Fatalf("killed at %d: %v", kill, err)
		}
		repo.killAfter = 1 << 30
		if _, err := apply(t.Context(), plan, repo, quiet()); err != nil {
			t.Fatalf("rerun after a kill at %d: %v", kill, err)
		}
		after := mustTake(t, repo.remote)
		if diff := cmp.Diff([]string{"a", "v2.0.0"}, tagsOf(after)); diff != "" {
			t.Errorf("killed at %d: tags (-want +got):\n%s", kill, diff)
		}
		for _, d := range plan.Delete {
			if _, _, err := repo.Manifest(t.Context(), d.Digest); !registry.IsNotFound(err) {
				t.Errorf("killed at %d: %s is left after the rerun (%v)", kill, d.Digest, err)
			}
		}
	}
}

// A registry that takes more with a manifest than it should.
func TestWhatIsLostAgainstThePlanIsReported(t *testing.T) {
	_, at := startRegistry(t)
	pushImage(t, at, "v1.0.0")
	lost := pushImage(t, at, "v2.0.0")
	repo := &meddling{remote: connect(t, at), killAfter: 1 << 30}
	plan := Decide(mustTake(t, repo.remote), keepOne, time.Now())
	repo.afterDelete = func() {
		if err := repo.remote.Delete(t.Context(), lost); err != nil {
			t.Error(err)
		}
	}
	if _, err := apply(t.Context(), plan, repo, quiet()); err == nil || !strings.Contains(err.Error(), "v2.0.0") || !strings.Contains(err.Error(), "was kept and is gone") {
		t.Errorf("error %v; want one that names what is gone", err)
	}
}

// noUntag is a registry like distribution 2: it deletes manifests only.
type noUntag struct{ remote }

func (noUntag) Untag(context.Context, string) error { return errUntagUnsupported }

func TestWithoutUntaggingAManifestGoesOnlyWithAllItsTags(t *testing.T) {
	_, at := startRegistry(t)
	shared := pushImage(t, at, "v1.0.0", "stable")
	gone := pushImage(t, at, "v1.1.0")
	pushImage(t, at, "v2.0.0")
	repo := noUntag{connect(t, at)}
	if _, err := apply(t.Context(), Decide(mustTake(t, repo.remote), keepOne, time.Now()), repo, quiet()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := repo.Manifest(t.Context(), shared); err != nil {
		t.Errorf("stable's image is gone: %v", err)
	}
	if _, _, err := repo.Manifest(t.Context(), gone); !registry.IsNotFound(err) {
		t.Errorf("v1.1.0's image: %v, want it gone", err)
	}
}

// protecting is a registry like zot: it refuses to delete what it still needs.
type protecting struct{ remote }

func (protecting) Delete(context.Context, v1.Hash) error {
	return &registry.Error{Method: "DELETE", Status: http.StatusMethodNotAllowed, Codes: []string{"DENIED"}}
}

func TestWhatTheRegistryProtectsIsLeftAndReported(t *testing.T) {
	_, at := startRegistry(t)
	pushImage(t, at, "v1.0.0")
	pushImage(t, at, "v2.0.0")
	repo := protecting{connect(t, at)}
	done, err := apply(t.Context(), Decide(mustTake(t, repo.remote), keepOne, time.Now()), repo, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if done.Deleted != 0 || len(done.Skipped) != 1 || !strings.Contains(done.Skipped[0], "still needed") {
		t.Errorf("deleted %d, skipped %q; want the manifest skipped with the reason", done.Deleted, done.Skipped)
	}
}

// run runs imagewright-prune as a user would.
func run(t *testing.T, args ...string) (code int, results, log string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = step.Run(t.Context(), &Step{}, step.Process{Args: args, Stdout: &stdout, Stderr: &stderr, Dir: t.TempDir()})
	return code, stdout.String(), stderr.String()
}

func TestPruneAsAUserCallsIt(t *testing.T) {
	_, at := startRegistry(t)
	pushImage(t, at, "v1.9.0")
	pushImage(t, at, "v1.10.0")
	code, results, log := run(t, "--repositories="+at.String(), "--keep-last=1")
	if code != 0 || !strings.Contains(results, "1 kept, 1 to untag, 1 manifests to delete") || !strings.Contains(log, "nothing is deleted; say apply") {
		t.Errorf("plan: exit code %d\n%s\n%s", code, results, log)
	}
	if tags := tagsOf(mustTake(t, connect(t, at))); len(tags) != 2 {
		t.Fatalf("a plan deleted: tags are %q", tags)
	}
	// The images of this test carry no date, so grace cannot protect them.
	if code, _, log = run(t, "apply", "--repositories="+at.String(), "--keep-last=1"); code != 0 {
		t.Errorf("apply: exit code %d\n%s", code, log)
	}
	if diff := cmp.Diff([]string{"v1.10.0"}, tagsOf(mustTake(t, connect(t, at)))); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

func TestBadUseOfPruneSaysWhatToDo(t *testing.T) {
	server, noDeletes := startRegistry(t)
	server.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodDelete {
			return false
		}
		w.WriteHeader(http.StatusMethodNotAllowed)
		io.WriteString(w, `{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}`)
		return true
	})
	pushImage(t, noDeletes, "v1.0.0")
	pushImage(t, noDeletes, "v2.0.0")
	for _, tc := range []struct {
		name string
		args []string
		code int
		log  string
	}{
		{"no repository", []string{"--keep-last=1"}, 2, "name a repository"},
		{"no rule", []string{"--repositories=localhost:1/app"}, 2, "set keep-last, older-than or both"},
		{"a tag for a repository", []string{"--repositories=localhost:1/App", "--keep-last=1"}, 2, "input repositories"},
		{"bad pattern", []string{"--repositories=localhost:1/app", "--keep-last=1", "--protect=["}, 2, "input protect"},
		{"a user without a password", []string{"--repositories=localhost:1/app", "--keep-last=1", "--username=me"}, 2, "IMAGEWRIGHT_PRUNE_PASSWORD"},
		{"registry that does not delete", []string{"apply", "--repositories=" + noDeletes.String(), "--keep-last=1"}, 1, "storage.delete.enabled"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, log := run(t, tc.args...)
			if code != tc.code || !strings.Contains(log, tc.log) {
				t.Errorf("exit code %d, want %d; log %q says nothing of %q", code, tc.code, log, tc.log)
			}
		})
	}
}

func TestAForksRunDeletesNothing(t *testing.T) {
	server, at := startRegistry(t)
	pushImage(t, at, "v1.0.0")
	pushImage(t, at, "v2.0.0")
	server.Forget()
	var log bytes.Buffer
	code := step.Run(t.Context(), &Step{}, step.Process{
		Args:    []string{"apply", "--repositories=" + at.String(), "--keep-last=1"},
		Environ: []string{"GITHUB_ACTIONS=true", "GITHUB_EVENT_NAME=pull_request_target"},
		Stdout:  io.Discard, Stderr: &log, Dir: t.TempDir(),
	})
	if code != 3 || !strings.Contains(log.String(), "a fork") || len(server.Requests()) > 0 {
		t.Errorf("exit code %d, log %q, requests %v; want 3, the reason, and none", code, log.String(), server.Requests())
	}
}

func TestCredentialsGoToTheRegistriesThatRepositoriesName(t *testing.T) {
	hosts, err := hostsOf([]string{"acme/app", "docker.io/acme/app", "ghcr.io/acme/app", "localhost:5000/app"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{name.DefaultRegistry, name.DefaultRegistry, "ghcr.io", "localhost:5000"}, hosts); diff != "" {
		t.Errorf("registries (-want +got):\n%s", diff)
	}
}
