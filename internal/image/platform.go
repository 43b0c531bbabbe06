package image

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/internal/fault"
)

// PlatformImage is one image of an index, or the only one.
type PlatformImage struct {
	Platform v1.Platform
	Digest   v1.Hash // of its manifest
	Image    v1.Image
}

// Image returns the image that is opened. For an index it is the one of
// Options.Platform, or the only one there is.
func (o *Opened) Image() (v1.Image, error) {
	images, err := o.Images()
	if err != nil {
		return nil, err
	}
	if len(images) > 1 {
		var names []string
		for _, i := range images {
			names = append(names, quoted(i.Platform))
		}
		return nil, fault.Usage(fmt.Errorf("%s: holds images for %s", o.from.where().name, strings.Join(names, ", ")), "choose one platform")
	}
	return images[0].Image, nil
}

// Index returns the index that is opened; an error when it is one image.
func (o *Opened) Index() (v1.ImageIndex, error) { return openIndex(o.from, o.Descriptor) }

// Images returns the images that are opened, at least one, in the order of the
// index: all of them, or those of Options.Platform. Attestations and other
// artifacts are left out, and so are images of the index that an archive does
// not have. A platform that is not there is a usage error naming those that are.
func (o *Opened) Images() ([]PlatformImage, error) {
	s := &selection{from: o.from, want: o.platform, partial: o.partial}
	if err := s.add(o.Descriptor, 0); err != nil {
		return nil, err
	}
	if len(s.images) > 0 {
		return s.images, nil
	}
	if o.platform != nil && len(s.others) > 0 {
		slices.Sort(s.others)
		return nil, fault.Usage(fmt.Errorf("%s: has no image for %s; it has %s", o.from.where().name, o.platform, strings.Join(slices.Compact(s.others), ", ")), "choose a platform it has")
	}
	return nil, o.from.where().damaged("", "holds no image")
}

// selection walks an index for the images wanted.
type selection struct {
	from    container
	want    *v1.Platform
	partial bool
	seen    int
	read    int64 // bytes of manifests and configurations
	images  []PlatformImage
	others  []string // platforms not wanted
}

func (s *selection) add(desc v1.Descriptor, depth int) error {
	if s.seen++; s.seen > maxManifests {
		return s.from.where().damaged("", "names more than %d manifests", maxManifests)
	}
	if desc.MediaType.IsIndex() {
		return s.addIndex(desc, depth)
	}
	if !desc.MediaType.IsImage() || desc.Platform != nil && (isUnknown(*desc.Platform) || !s.wants(*desc.Platform)) {
		return nil // need not be there
	}
	i, err := openImage(s.from, desc)
	if err != nil {
		return s.forgive(err)
	}
	if err := s.room(i.doc); err != nil {
		return err
	}
	platform, err := i.platform()
	if err != nil {
		return err
	}
	switch {
	case desc.Platform != nil:
		platform = *desc.Platform
	case isUnknown(platform), !i.isImage() && platform.OS == "", !s.wants(platform):
		return nil
	}
	if !i.isImage() { // but a runtime would run it: nobody may take it for an artifact
		return s.from.where().damaged("manifest "+desc.Digest.String(), "is for %s, but its config is of type %q", quoted(platform), i.doc.Config.MediaType)
	}
	s.images = append(s.images, PlatformImage{Platform: platform, Digest: i.doc.Digest, Image: i})
	return nil
}

// room is called before the config of an image is read: all are kept in memory.
func (s *selection) room(d *document) error {
	s.read += d.Size
	if d.Config.Size <= maxDocument { // else it is not read
		s.read += d.Config.Size
	}
	if s.read > maxDocuments {
		return s.from.where().damaged("", "holds manifests and configurations of more than %d bytes", maxDocuments)
	}
	return nil
}

// platform is what the config says; of what is no image it may say nothing.
func (i *imageView) platform() (v1.Platform, error) {
	config, err := i.ConfigFile()
	if err != nil {
		if !i.isImage() {
			return v1.Platform{}, nil // an artifact's config need not be JSON, nor be small
		}
		return v1.Platform{}, err
	}
	return v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant, OSVersion: config.OSVersion, OSFeatures: config.OSFeatures}, nil
}

func (s *selection) addIndex(desc v1.Descriptor, depth int) error {
	if depth > maxDepth {
		return s.from.where().damaged("index "+desc.Digest.String(), "lies more than %d indexes deep, or in itself", maxDepth)
	}
	index, err := readDocument(s.from, desc)
	if err != nil {
		return s.forgive(err)
	}
	for _, child := range index.Manifests {
		if err := s.add(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// forgive takes a manifest for left out where sources may leave some out.
func (s *selection) forgive(err error) error {
	if s.partial && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// wants tells whether images of p are asked for, and remembers p if not.
func (s *selection) wants(p v1.Platform) bool {
	if s.want == nil || normal(p).Satisfies(normal(*s.want)) {
		return true
	}
	s.others = append(s.others, quoted(p))
	return false
}

// quoted is a platform in one line of an error, whatever an image calls it.
func quoted(p v1.Platform) string {
	text := strconv.Quote(p.String())
	return text[1 : len(text)-1]
}

// normal spells a platform one way: arm64 is arm64/v8, arm is arm/v7, as in
// https://github.com/containerd/platforms/blob/v1.0.0-rc.5/database.go
func normal(p v1.Platform) v1.Platform {
	p.OS, p.Architecture = strings.ToLower(p.OS), strings.ToLower(p.Architecture)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	}
	switch {
	case p.Architecture == "arm64" && (p.Variant == "8" || p.Variant == "v8"):
		p.Variant = ""
	case p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm":
		p.Variant = cmp.Or(p.Variant, "v7")
	}
	return p
}

// isUnknown is the platform of the attestations that BuildKit puts beside images
// in an index. What else marks them is not looked at: a runtime doesn't either.
// https://github.com/moby/buildkit/blob/v0.34.2/docs/attestations/attestation-storage.md
func isUnknown(p v1.Platform) bool { return p.OS == "unknown" && p.Architecture == "unknown" }
