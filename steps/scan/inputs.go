package scan

import (
	"time"

	"github.com/imagewright/imagewright/internal/step"
)

// Inputs of scan. Where trivy-action has an input, the name and the meaning are
// the same.
type Inputs struct {
	What       `group:"What to scan"`
	Search     `group:"What to look for"`
	Policy     `group:"What is let through"`
	Output     `group:"What is shown and written"`
	Data       `group:"Databases and caches"`
	Registries `group:"Registry of the image"`
	Limits     `group:"Limits"`
	step.Common
}

// What is the image to scan.
type What struct {
	Source   string `name:"source" placeholder:"IMAGE" help:"Image to scan: a layout directory, an archive, or a reference. Without it, the image that build made."`
	ImageRef string `name:"image-ref" placeholder:"REFERENCE" help:"The same as source, as trivy-action names it for a reference."`
	Input    string `name:"input" placeholder:"ARCHIVE" help:"The same as source, as trivy-action names it for an archive."`
	Platform string `name:"platform" placeholder:"OS/ARCH" help:"The one platform of a multi-platform image to scan; the verdict is then about that platform's digest alone. Without it all are scanned."`
}

// Search is what the image is searched for, and where.
type Search struct {
	Scanners     []string `name:"scanners" list:"csv" default:"vuln,secret" placeholder:"SCANNER" help:"What to look for: vuln, secret, or both."`
	PkgTypes     []string `name:"pkg-types" list:"csv" placeholder:"TYPE" help:"Packages to look up: os, library, or both, which is the default."`
	VulnType     []string `name:"vuln-type" list:"csv" placeholder:"TYPE" help:"The same as pkg-types, as trivy-action names it."`
	SkipDirs     []string `name:"skip-dirs" list:"csv" placeholder:"GLOB" help:"Directories of the image that are not looked into."`
	SkipFiles    []string `name:"skip-files" list:"csv" placeholder:"GLOB" help:"Files of the image that are not looked into."`
	SecretConfig string   `name:"secret-config" placeholder:"FILE" help:"Rules for secrets, in Trivy's format. Without it trivy-secret.yaml in the checkout, if there is one."`
}

// Policy decides between pass and fail.
type Policy struct {
	FailOn        []string `name:"fail-on" list:"csv" default:"critical" placeholder:"SEVERITY" help:"Severities that fail the scan with exit code 3: critical, high, medium, low, unknown, or none. Each takes the worse ones with it; unknown counts only when it is named."`
	IgnoreUnfixed bool     `name:"ignore-unfixed" help:"Leave out vulnerabilities that no release fixes yet."`
	IgnoreStatus  []string `name:"ignore-status" list:"csv" placeholder:"STATUS" help:"Leave out vulnerabilities of these statuses, such as will_not_fix. It counts instead of ignore-unfixed."`
	TrivyIgnores  []string `name:"trivyignores" list:"csv" placeholder:"FILE" help:"Files that name accepted findings, in the formats of .trivyignore and .trivyignore.yaml. Without it those two in the checkout, if they are there."`
	Baseline      string   `name:"baseline" placeholder:"FILE" help:"JSON report of an earlier scan, ours or Trivy's: what it has does not fail the scan."`
	GraceDays     int      `name:"grace-days" placeholder:"DAYS" help:"Let vulnerabilities pass that were published less than this many days ago."`
	AllowEmpty    bool     `name:"allow-empty" help:"Let an image pass in which no package was found, so that nothing could be checked."`
}

// Output is what people and tools get to see.
type Output struct {
	Severity    []string `name:"severity" harmless:"" list:"csv" placeholder:"SEVERITY" help:"Severities shown in the table and the summary; all when not given. Reports and the verdict always have all."`
	Format      string   `name:"format" enum:"table,json,sarif,gitlab,codequality,junit,markdown,cyclonedx,spdx-json" default:"table" help:"What goes to standard output, or to the file that output names. Unless it is the table, the table goes to the log."`
	Output      string   `name:"output" placeholder:"FILE" help:"File for what format says. Without it, standard output."`
	Reports     []string `name:"reports" placeholder:"FORMAT=PATH" help:"Reports to write, one a line: the formats are those of format but for table. Without it, scan.json, scan.sarif and scan-gitlab.json in the workspace's reports."`
	ListAllPkgs bool     `name:"list-all-pkgs" default:"true" negatable:"" help:"Have all packages in JSON reports, not only findings."`
}

// Data is where the databases come from, and what is kept from scan to scan.
type Data struct {
	DBRepository     []string `name:"db-repository" list:"csv" placeholder:"REPOSITORY" help:"Repositories of the vulnerability database, tried in order. Without it mirror.gcr.io/aquasec/trivy-db:2, then ghcr.io/aquasecurity/trivy-db:2."`
	SkipDBUpdate     bool     `name:"skip-db-update" help:"Use the database in cache-dir as it is, however old."`
	JavaDBRepository []string `name:"java-db-repository" list:"csv" placeholder:"REPOSITORY" help:"Repositories of the index of Java archives, tried in order. Without it mirror.gcr.io/aquasec/trivy-java-db:1, then ghcr.io/aquasecurity/trivy-java-db:1."`
	SkipJavaDBUpdate bool     `name:"skip-java-db-update" help:"Use the index of Java archives in cache-dir as it is, however old."`
	CacheDir         string   `name:"cache-dir" placeholder:"DIRECTORY" help:"Where databases and what was found in layers and images are kept; ~/.cache/imagewright when not given."`
	LayerCache       bool     `name:"layer-cache" default:"true" negatable:"" help:"Keep what is found in layers and images, and do not look into them again while nothing changed."`
}

// Registries says who we are to the registry that source is in.
type Registries struct {
	Username string   `name:"username" help:"User at the registry that source names; other registries never see it."`
	Password string   `name:"password" secret:"" help:"Password or token of that user; reading is all it needs to allow."`
	Insecure []string `name:"insecure-registries" list:"csv" placeholder:"HOST[:PORT]" help:"Registries spoken to in plain HTTP; those on this machine's loopback always are."`
}

// Limits bound the scan and what it may do.
type Limits struct {
	Timeout time.Duration `name:"timeout" default:"10m" placeholder:"DURATION" help:"Give up after this long, without a verdict. 0 means never."`
	Sandbox string        `name:"sandbox" enum:"auto,require,off" default:"auto" help:"Whether the image is read in a process that can reach nothing else: auto makes do with what the kernel offers, require fails where something is missing."`
}
