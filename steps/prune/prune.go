// Package prune is imagewright-prune: it deletes old images from a registry,
// and nothing that a kept tag, index or referrer still reaches.
//
// Three stages with data between them: take makes a Snapshot, Decide a Plan of
// it without any I/O, apply carries that out.
package prune

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/imagewright/imagewright/internal/ci"
	"github.com/imagewright/imagewright/internal/durable"
	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/input"
	"github.com/imagewright/imagewright/internal/registry"
	"github.com/imagewright/imagewright/internal/registry/auth"
	"github.com/imagewright/imagewright/internal/step"
	"github.com/imagewright/imagewright/internal/version"
)

// Inputs of prune.
type Inputs struct {
	Command      string        `name:"command" enum:"plan,apply" default:"plan" help:"Whether to say what would go (plan) or to delete it (apply)."`
	Repositories []string      `name:"repositories" placeholder:"REPOSITORY" help:"Repositories to clean up, one a line."`
	KeepLast     int           `name:"keep-last" default:"0" placeholder:"N" group:"What may go" help:"Keep the newest N releases, and the newest N prereleases, of each line of versions, by version order. 0 is no such rule."`
	OlderThan    time.Duration `name:"older-than" default:"0" placeholder:"AGE" group:"What may go" help:"Let only what is older go, such as 168h or 30d. With keep-last both must hold. 0 is no such rule."`
	Classes      []string      `name:"classes" list:"csv" enum:"version,calver,date,sha,pr,branch" default:"version" group:"What may go" help:"Classes of tags that may go. Names that move, such as latest, never do."`
	Protect      []string      `name:"protect" placeholder:"GLOB" group:"What may go" help:"Patterns of tags that stay whatever the rules say, one a line, such as v1.*."`
	Grace        time.Duration `name:"grace" default:"24h" placeholder:"AGE" group:"What may go" help:"Keep what is younger whatever the rules say. 0 is no such rule."`
	Username     string        `name:"username" group:"Registry" help:"User of the registry. Without it the credentials of Docker and of the CI count."`
	Password     string        `name:"password" secret:"" group:"Registry" help:"Password or token of the registry."`
	Insecure     []string      `name:"insecure-registries" list:"csv" placeholder:"HOST[:PORT]" group:"Registry" help:"Registries spoken to in plain HTTP; those on this machine's loopback always are."`
	step.Common
}

// Step is imagewright-prune.
type Step struct{ in Inputs }

// Inputs returns the inputs, to be filled.
func (s *Step) Inputs() any { return &s.in }

// Declaration says what prune is.
func (s *Step) Declaration() step.Declaration {
	return step.Declaration{
		Name:    "prune",
		Summary: "Deletes old images from a registry, and nothing that is still needed.",
		Description: "A manifest goes only if no kept tag, index, signature or other referrer reaches it. " +
			"Versions are ordered by their numbers, so v1.10.0 is newer than v1.9.0, and a release candidate is older than its release. " +
			"What no rule mentions stays, and so does what has an unknown age where the rule is about age. " +
			"Without a command nothing is deleted: the plan is printed and written to .imagewright/reports/prune-plan.json.",
		Commands: []step.Command{{Name: "plan", Summary: "Say what would go, and why (the default)."}, {Name: "apply", Summary: "Delete it."}},
		Examples: []step.Example{
			{Text: "See what keeping five versions would delete", Command: "imagewright-prune --repositories=ghcr.io/acme/hello --keep-last=5"},
			{Text: "Delete versions that are neither among the newest five nor younger than a month", Command: "imagewright-prune apply --repositories=ghcr.io/acme/hello --keep-last=5 --older-than=30d"},
		},
		Outputs: []step.Output{
			{Name: "untagged", Help: "Number of tags removed, or to be removed."},
			{Name: "deleted", Help: "Number of manifests deleted, or to be deleted."},
			{Name: "plan", Help: "Path of the plan."},
		},
		Token: true,
	}
}

// Run plans for every repository, and with the command apply deletes.
func (s *Step) Run(ctx context.Context, job *step.Job) error {
	policy, err := s.policy()
	if err != nil {
		return err
	}
	if job.CI.Fork && s.in.Command == "apply" {
		return fault.Refused(errors.New("this run is for code from another repository (a fork), which decides about nothing that is deleted"),
			"prune in runs of your own branches, on a schedule")
	}
	client, err := s.client(job)
	if err != nil {
		return err
	}
	repos := make([]remote, len(s.in.Repositories))
	for i, text := range s.in.Repositories {
		repo, err := client.Repository(text)
		if err != nil {
			return err
		}
		repos[i] = remote{client, repo}
	}
	var total totals
	defer func() { total.report(job) }() // also of what was done before an error
	for _, repo := range repos {
		if err := s.prune(ctx, job, repo, policy, &total); err != nil {
			return err
		}
	}
	return nil
}

// policy checks what the inputs alone can tell.
func (s *Step) policy() (Policy, error) {
	if len(s.in.Repositories) == 0 {
		return Policy{}, fault.Usage(errors.New("input repositories: nothing is given"), "name a repository, such as ghcr.io/acme/hello")
	}
	if s.in.KeepLast == 0 && s.in.OlderThan == 0 {
		return Policy{}, fault.Usage(errors.New("no rule says what may go"), "set keep-last, older-than or both")
	}
	if err := auth.CheckLogin(s.in.Username, s.in.Password, "IMAGEWRIGHT_PRUNE_PASSWORD"); err != nil {
		return Policy{}, err
	}
	for _, pattern := range s.in.Protect {
		if _, err := path.Match(pattern, ""); err != nil {
			return Policy{}, &input.ValueError{Input: "protect", Value: pattern, Want: "a glob pattern such as v1.*"}
		}
	}
	p := Policy{KeepLast: s.in.KeepLast, OlderThan: s.in.OlderThan, Grace: s.in.Grace, Protect: s.in.Protect}
	for _, class := range s.in.Classes {
		p.Classes = append(p.Classes, version.Class(class))
	}
	return p, nil
}

func (s *Step) client(job *step.Job) (*registry.Client, error) {
	hosts, err := hostsOf(s.in.Repositories)
	if err != nil {
		return nil, err
	}
	access := registry.Pull
	if s.in.Command == "apply" {
		access = registry.Delete
	}
	return registry.New(registry.Options{
		Keychain: auth.Keychain(auth.Options{
			Registries: hosts, Username: s.in.Username, Password: s.in.Password, Environ: job.Environ,
		}),
		PlainHTTP: s.in.Insecure,
		CABundle:  job.CABundle(),
		Proxy:     job.Proxy(),
		Access:    access,
		UserAgent: "imagewright-prune/" + step.Version(),
		Log:       job.Log,
	})
}

// hostsOf returns the registries that the credentials of the inputs are for.
func hostsOf(repositories []string) ([]string, error) {
	var hosts []string
	for _, text := range repositories {
		repo, err := name.NewRepository(text)
		if err != nil {
			return nil, fault.Usage(fmt.Errorf("input repositories: %w", err), "write host/path without a tag")
		}
		hosts = append(hosts, repo.RegistryStr())
	}
	return hosts, nil
}

// prune plans for one repository, and applies the plan where that was said.
func (s *Step) prune(ctx context.Context, job *step.Job, repo remote, policy Policy, total *totals) error {
	end := job.Group("Prune " + repo.repo.String())
	defer end()
	snapshot, err := take(ctx, repo.repo.String(), repo)
	if err != nil {
		return err
	}
	plan := Decide(snapshot, policy, time.Now().UTC())
	if err := printPlan(job.Stdout, plan); err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	total.plans = append(total.plans, plan)
	if err := writePlans(job.Workspace, total.plans); err != nil {
		return err
	}
	if s.in.Command == "plan" {
		total.untagged += len(plan.Untag)
		total.deleted += len(plan.Delete)
		job.Log.Info("nothing is deleted; say apply to do it", "repository", plan.Repository)
		return nil
	}
	total.applied = true
	done, err := apply(ctx, plan, repo, job.Log)
	total.untagged += done.Untagged
	total.deleted += done.Deleted
	for _, skipped := range done.Skipped {
		job.Log.Warn("skipped", "what", skipped)
	}
	return err
}

const planFile = "prune-plan.json"

// writePlans puts the plans where a person, or the next run, can read them.
func writePlans(workspace string, plans []*Plan) error {
	dir := filepath.Join(workspace, "reports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return durable.WriteFile(filepath.Join(dir, planFile), 0o644, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(plans)
	})
}

// printPlan prints a row a tag: what happens to it, and why.
func printPlan(to io.Writer, plan *Plan) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "TAG\tACTION\tWHY\tDIGEST\n")
	for _, k := range plan.Kept {
		fmt.Fprintf(w, "%s\tkeep\t%s\t%s\n", ci.Printable(k.Tag), ci.Printable(k.Why), short(k.Digest.Hex))
	}
	for _, u := range plan.Untag {
		fmt.Fprintf(w, "%s\tuntag\t%s\t%s\n", ci.Printable(u.Tag), ci.Printable(u.Why), short(u.Digest.Hex))
	}
	fmt.Fprintf(w, "\n%s: %d kept, %d to untag, %d manifests to delete, up to %s freed\n",
		plan.Repository, len(plan.Kept), len(plan.Untag), len(plan.Delete), units.HumanSize(float64(plan.Bytes)))
	return w.Flush()
}

func short(hex string) string { return hex[:min(len(hex), 12)] }

// totals is what a run did over all repositories.
type totals struct {
	untagged, deleted int
	applied           bool
	plans             []*Plan
}

// report tells the CI.
func (t *totals) report(job *step.Job) {
	job.Output("untagged", fmt.Sprint(t.untagged))
	job.Output("deleted", fmt.Sprint(t.deleted))
	job.Output("plan", job.Rel(filepath.Join(job.Workspace, "reports", planFile)))
	verb := "Would prune"
	if t.applied {
		verb = "Pruned"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n| repository | kept | tags going | manifests going | freed, at most |\n|---|---|---|---|---|\n", verb)
	for _, p := range t.plans {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %s |\n", p.Repository, len(p.Kept), len(p.Untag), len(p.Delete), units.HumanSize(float64(p.Bytes)))
	}
	job.Summary(b.String())
	if t.applied {
		job.Log.Info("pruned", "untagged", t.untagged, "deleted", t.deleted)
	}
}
