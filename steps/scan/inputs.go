package scan

import (
	"time"

	"github.com/imagewright/imagewright/internal/step"
)

// Inputs of scan. Where trivy-action has an input, the name and the meaning are
// the same.
type Inputs struct {
	What       `group:"What to scan"`
	Policy     `group:"What is let through"`
	Output     `group:"What is shown and written"`
	Data       `group:"Vulnerability database"`
	Registries `group:"Registry of the image"`
	Timeout    time.Duration `name:"timeout" group:"Limits" default:"10m" placeholder:"DURATION" help:"Give up after this long, without a verdict. 0 means never."`
	step.Common
}

// What is the image to scan.
type What struct {
	Source   string `name:"source" placeholder:"IMAGE" help:"Image to scan: a layout directory, an archive, or a reference. Without it, the image that build made."`
	ImageRef string `name:"image-ref" placeholder:"REFERENCE" help:"The same as source, as trivy-action names it for a reference."`
	Input    string `name:"input" placeholder:"ARCHIVE" help:"The same as source, as trivy-action names it for an archive."`
	Platform string `name:"platform" placeholder:"OS/ARCH" help:"The one platform of a multi-platform image to scan; the verdict is then about that platform's digest alone. Without it all are scanned."`
}

// Policy decides between pass and fail.
type Policy struct {
	FailOn        []string `name:"fail-on" list:"csv" default:"critical" placeholder:"SEVERITY" help:"Severities that fail the scan with exit code 3: critical, high, medium, low, unknown, or none. Each takes the worse ones with it; unknown counts only when it is named."`
	IgnoreUnfixed bool     `name:"ignore-unfixed" help:"Leave out vulnerabilities that no release fixes yet."`
	AllowEmpty    bool     `name:"allow-empty" help:"Let an image pass in which no package was found, so that nothing could be checked."`
}

// Output is what people and tools get to see.
type Output struct {
	Severity []string `name:"severity" harmless:"" list:"csv" placeholder:"SEVERITY" help:"Severities shown in the table and the summary; all when not given. Reports and the verdict always have all."`
	Format   string   `name:"format" enum:"table,json" default:"table" help:"What goes to standard output; json has Trivy's schema, and the table goes to the log then."`
	Reports  []string `name:"reports" placeholder:"FORMAT=PATH" help:"Reports to write, one a line: json=PATH in Trivy's schema, sarif=PATH. Without it, scan.json and scan.sarif in the workspace's reports."`
}

// Data is where the vulnerability database comes from and is kept.
type Data struct {
	DBRepository []string `name:"db-repository" list:"csv" placeholder:"REPOSITORY" help:"Repositories of the database, tried in order. Without it mirror.gcr.io/aquasec/trivy-db:2, then ghcr.io/aquasecurity/trivy-db:2."`
	SkipDBUpdate bool     `name:"skip-db-update" help:"Use the database in cache-dir as it is, however old."`
	CacheDir     string   `name:"cache-dir" placeholder:"DIRECTORY" help:"Where the database is kept; ~/.cache/imagewright when not given."`
}

// Registries says who we are to the registry that source is in.
type Registries struct {
	Username string   `name:"username" help:"User at the registry that source names; other registries never see it."`
	Password string   `name:"password" secret:"" help:"Password or token of that user; reading is all it needs to allow."`
	Insecure []string `name:"insecure-registries" list:"csv" placeholder:"HOST[:PORT]" help:"Registries spoken to in plain HTTP; those on this machine's loopback always are."`
}
