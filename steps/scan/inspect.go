package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
	"github.com/imagewright/imagewright/internal/image"
	"github.com/imagewright/imagewright/steps/scan/database"
	"github.com/imagewright/imagewright/steps/scan/kept"
	"github.com/imagewright/imagewright/steps/scan/parser"
)

// inspected is one image and what is in it.
type inspected struct {
	image    image.PlatformImage
	config   *v1.ConfigFile
	raw      []byte // config, as it is stored
	configID v1.Hash
	layers   []v1.Layer
	blobs    []v1.Descriptor // of layers, as the manifest names them

	*parser.Report // filled when all layers are known
}

// maxLayers bounds the layers of an image. Docker makes and runs 127, and Linux
// stacks 500.
const maxLayers = 1000

// open reads the images' configurations.
func open(images []image.PlatformImage) ([]*inspected, error) {
	all := make([]*inspected, len(images))
	for i, img := range images {
		one, err := openOne(img)
		if err != nil {
			return nil, err
		}
		all[i] = one
	}
	return all, nil
}

func openOne(img image.PlatformImage) (one *inspected, err error) {
	one = &inspected{image: img}
	if one.config, err = img.Image.ConfigFile(); err != nil {
		return nil, err
	}
	if one.raw, err = img.Image.RawConfigFile(); err != nil {
		return nil, err
	}
	if one.configID, err = img.Image.ConfigName(); err != nil {
		return nil, err
	}
	if one.layers, err = img.Image.Layers(); err != nil {
		return nil, err
	}
	if n := len(one.layers); n > maxLayers {
		return nil, fault.Failed(fmt.Errorf("image %s: it has %d layers; at most %d are read", img.Digest, n, maxLayers), "no runtime takes so many: build the image again")
	}
	if len(one.layers) != len(one.config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("image %s: its configuration names %d layers, its manifest %d", img.Digest, len(one.config.RootFS.DiffIDs), len(one.layers))
	}
	one.blobs, err = descriptors(one.layers)
	return one, err
}

func descriptors(layers []v1.Layer) ([]v1.Descriptor, error) {
	all := make([]v1.Descriptor, len(layers))
	for i, l := range layers {
		var err error
		if all[i].Digest, err = l.Digest(); err != nil {
			return nil, err
		}
		if all[i].Size, err = l.Size(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// inspect fills in what an image holds.
func (g *gathering) inspect(ctx context.Context, one *inspected) error {
	question := one.question(g.outcome.subject.name, g.outcome.subject.madeUp, g.plan)
	about, err := g.about(question)
	if err != nil {
		return err
	}
	if one.Report = g.known(about); one.Report != nil {
		return nil
	}
	if err := g.layers.provide(ctx, one); err != nil {
		return err
	}
	if err := g.ask(ctx, one, question); err != nil {
		return err
	}
	if one.NeedsIndex && g.plan.vulnerabilities && len(one.Problems) == 0 {
		if err := g.openIndex(ctx); err != nil {
			return err
		}
		return g.ask(ctx, one, question)
	}
	if !g.indexed { // by another platform: the answer may be that of the index
		g.keep(about, one.Report)
	}
	return nil
}

// ask has the parser join the layers and look up what they hold.
func (g *gathering) ask(ctx context.Context, one *inspected, question parser.Image) error {
	p, err := g.parser(ctx)
	if err != nil {
		return err
	}
	if g.plan.vulnerabilities {
		if err := g.openDatabase(ctx); err != nil {
			return err
		}
	}
	one.Report, err = p.Inspect(ctx, question)
	return err
}

// about stands for all that the answer to a question depends on: the image, the
// database, and the day, because support of a distribution ends on one.
func (g *gathering) about(question parser.Image) (v1.Hash, error) {
	depends := struct {
		Image    parser.Image
		Database database.Metadata
		Size     int64
		Changed  time.Time
		Day      string
	}{Image: question, Database: g.vulnerabilities.Metadata, Day: g.outcome.at.Format(time.DateOnly)}
	if g.plan.vulnerabilities {
		info, err := os.Stat(g.vulnerabilities.Path)
		if err != nil {
			return v1.Hash{}, err
		}
		depends.Size, depends.Changed = info.Size(), info.ModTime()
	}
	text, err := json.Marshal(depends)
	if err != nil {
		return v1.Hash{}, err
	}
	h, _, err := v1.SHA256(bytes.NewReader(text))
	return h, err
}

// known returns what is kept about an image, or nil.
func (g *gathering) known(about v1.Hash) *parser.Report {
	if g.images == nil {
		return nil
	}
	f, ok := g.images.Get(about)
	if !ok {
		return nil
	}
	defer f.Close()
	report := &parser.Report{}
	text, err := io.ReadAll(f)
	if err == nil {
		err = json.Unmarshal(text, report)
	}
	if err != nil {
		g.job.Log.Debug("what is known about the image cannot be used", "reason", err)
		return nil
	}
	return report
}

// keep keeps what an image holds, unless it may be another the next time.
func (g *gathering) keep(about v1.Hash, report *parser.Report) {
	if g.images == nil || len(report.Problems) > 0 {
		return
	}
	if err := g.images.Put(about, report.Answer); err != nil {
		g.job.Log.Debug("what was found in the image is not kept", "reason", err)
		return
	}
	g.layers.added = true
}

// trim keeps the cache small.
func (g *gathering) trim() {
	if !g.layers.added {
		return
	}
	if err := g.images.Trim(kept.MaxBytes); err != nil {
		g.job.Log.Debug("the cache of results was not trimmed", "reason", err)
	}
}

// question returns what the parser needs to join an image's layers.
func (one *inspected) question(name string, madeUp bool, p plan) parser.Image {
	return parser.Image{Name: name, MadeUp: madeUp, Config: one.raw, Layers: one.blobs, Vulnerabilities: p.vulnerabilities, PkgTypes: p.pkgTypes}
}
