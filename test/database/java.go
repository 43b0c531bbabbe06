package database

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aquasecurity/trivy-java-db/pkg/db"
	javatypes "github.com/aquasecurity/trivy-java-db/pkg/types"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	_ "modernc.org/sqlite" // what trivy-java-db writes with
)

// JavaSchemaVersion is the one that today's Trivy reads.
const JavaSchemaVersion = db.SchemaVersion

const (
	javaLayerType types.MediaType = "application/vnd.aquasec.trivy.javadb.layer.v1.tar+gzip"

	javaFile        = "trivy-java.db"
	javaArchiveFile = "javadb.tar.gz"
)

// JavaArchive is one archive published in a Maven repository.
type JavaArchive struct {
	GroupID, ArtifactID, Version string
	SHA1                         string // hexadecimal
	Type                         string // "jar" or "aar"; empty means "jar"
}

// JavaOptions say what an index of Java archives holds and how old it is.
type JavaOptions struct {
	// Archives in it; nil means [MavenArchives], and an empty list an empty index.
	Archives []JavaArchive
	// Version of the schema; 0 means JavaSchemaVersion.
	Version int
	// UpdatedAt is when it was made; zero means now. The next one is due three
	// days later.
	UpdatedAt time.Time
}

// MavenArchives returns some that Maven Central really has.
func MavenArchives() []JavaArchive {
	return []JavaArchive{
		{GroupID: "org.apache.logging.log4j", ArtifactID: "log4j-core", Version: "2.14.1", SHA1: "9141212b8507ab50a45525b545b39d224614528b"},
		{GroupID: "org.apache.logging.log4j", ArtifactID: "log4j-core", Version: "2.17.1", SHA1: "779f60f3844dadc3ef597976fcb1e5127b1f343d"},
		{GroupID: "org.apache.logging.log4j", ArtifactID: "log4j-api", Version: "2.14.1", SHA1: "cd8858fbbde69f46bce8db1152c18a43328aae78"},
		{GroupID: "commons-collections", ArtifactID: "commons-collections", Version: "3.2.1", SHA1: "761ea405b9b37ced573d2df0d1e3a4e0f9edc668"},
		{GroupID: "org.apache.commons", ArtifactID: "commons-text", Version: "1.9", SHA1: "ba6ac8c2807490944a0a27f6f8e68fb5ed2e80e2"},
	}
}

// WriteJava makes trivy-java.db and metadata.json in dir, which is made if need
// be.
func WriteJava(dir string, o JavaOptions) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make Java index in %s: %w", dir, err)
		}
	}()
	archives := o.Archives
	if archives == nil {
		archives = MavenArchives()
	}
	rows := make([]javatypes.Index, len(archives))
	for i, a := range archives {
		digest, err := hex.DecodeString(a.SHA1)
		if err != nil {
			return err
		}
		rows[i] = javatypes.Index{
			GroupID: a.GroupID, ArtifactID: a.ArtifactID, Version: a.Version,
			SHA1: digest, ArchiveType: javatypes.ArchiveType(cmp.Or(a.Type, javatypes.JarType)),
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, javaFile)); err != nil {
		return err
	}
	index, err := db.New(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(index.Init(), index.InsertIndexes(rows), index.VacuumDB(), index.Close()); err != nil {
		return err
	}
	updated := o.UpdatedAt
	if updated.IsZero() {
		updated = time.Now()
	}
	metadata := db.NewMetadata(dir)
	return metadata.Update(db.Metadata{
		Version:    cmp.Or(o.Version, JavaSchemaVersion),
		UpdatedAt:  updated.UTC(),
		NextUpdate: updated.UTC().Add(3 * 24 * time.Hour),
	})
}

// PushJava sends the index in dir to a registry, in the form of Trivy's own
// artifacts, and returns the artifact's digest.
func PushJava(ctx context.Context, dir string, to name.Reference) (v1.Hash, error) {
	return form{javaFile, javaArchiveFile, javaLayerType}.push(ctx, dir, to)
}

// SeedJava makes an index and pushes it.
func SeedJava(ctx context.Context, to name.Reference, o JavaOptions) (digest v1.Hash, err error) {
	dir, err := os.MkdirTemp("", "java-index-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := WriteJava(dir, o); err != nil {
		return v1.Hash{}, err
	}
	return PushJava(ctx, dir, to)
}
