package database

import (
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Kind is one of Trivy's databases: what it is called, how it is published and
// how it is kept.
type Kind struct {
	Name         string   // in messages
	Repositories []string // that publish it for everyone, in the order they are tried
	Schema       int      // version that can be read, and the tag it is published under

	folder string // in the cache
	file   string // in folder, beside metadata.json
	layer  types.MediaType

	// minAge is how long a downloaded one is not asked for again, even when a
	// newer one should be out: publishing is sometimes late.
	minAge time.Duration

	repositoryInput, skipInput string // inputs of scan that hints speak of
}

// Vulnerabilities is the database of advisories and vulnerabilities
// (https://github.com/aquasecurity/trivy-db).
func Vulnerabilities() Kind {
	return Kind{
		Name:         "vulnerability database",
		Repositories: []string{"mirror.gcr.io/aquasec/trivy-db:2", "ghcr.io/aquasecurity/trivy-db:2"},
		Schema:       2,

		folder: "db",
		file:   "trivy.db",
		layer:  "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip",
		minAge: time.Hour,

		repositoryInput: "db-repository",
		skipInput:       "skip-db-update",
	}
}

// Java is the index of archives in Maven Central
// (https://github.com/aquasecurity/trivy-java-db). It is large, and needed only
// for an image with a Java archive that does not say what it is.
func Java() Kind {
	return Kind{
		Name:         "Java index",
		Repositories: []string{"mirror.gcr.io/aquasec/trivy-java-db:1", "ghcr.io/aquasecurity/trivy-java-db:1"},
		Schema:       1,

		folder: "java-db",
		file:   "trivy-java.db",
		layer:  "application/vnd.aquasec.trivy.javadb.layer.v1.tar+gzip",
		minAge: 24 * time.Hour,

		repositoryInput: "java-db-repository",
		skipInput:       "skip-java-db-update",
	}
}
