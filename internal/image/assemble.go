package image

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imagewright/imagewright/internal/fault"
)

// Split returns the images of root, each with its platform and in the order of
// the index, and apart from them the attestations that BuildKit puts beside
// images. A root that is one image is that image. Nothing else may be in an
// index: neither artifacts nor further indexes.
//
// Format: https://github.com/moby/buildkit/blob/v0.34.2/docs/attestations/attestation-storage.md
func Split(layout *Layout, root v1.Descriptor) (images, attestations []v1.Descriptor, err error) {
	doc, err := readDocument(layout, root)
	if err != nil {
		return nil, nil, err
	}
	if doc.MediaType.IsImage() {
		images = []v1.Descriptor{doc.Descriptor}
		return images, nil, layout.completePlatforms(images)
	}
	if len(doc.Manifests) > maxManifests {
		return nil, nil, layout.where().damaged("index "+root.Digest.String(), "names more than %d manifests", maxManifests)
	}
	for _, child := range doc.Manifests {
		if isAttestation(child) {
			attestations = append(attestations, child)
		} else {
			images = append(images, child)
		}
	}
	if len(images) == 0 {
		return nil, nil, layout.where().damaged("index "+root.Digest.String(), "holds no image")
	}
	return images, attestations, layout.completePlatforms(images)
}

func isAttestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" || d.Platform != nil && isUnknown(*d.Platform)
}

// completePlatforms checks that all of images are images, leaves of their
// descriptors what an index says of images, and gives those without a platform
// the one their config names.
func (l *Layout) completePlatforms(images []v1.Descriptor) error {
	for i, desc := range images {
		view, err := openImage(l, desc)
		if err != nil {
			return err
		}
		if !view.isImage() {
			return l.where().damaged("manifest "+desc.Digest.String(), "is no image: its config is of type %q", view.doc.Config.MediaType)
		}
		images[i] = v1.Descriptor{MediaType: view.doc.MediaType, Digest: desc.Digest, Size: view.doc.Size, Platform: desc.Platform, Annotations: desc.Annotations}
		if desc.Platform == nil {
			p, err := view.platform()
			if err != nil {
				return err
			}
			images[i].Platform = &p
		}
	}
	return nil
}

// Assemble makes one root of images, which are in layout with all they need:
// of several an OCI index, in the order given, whose bytes depend on nothing
// else; one alone is returned as it is. annotations are the index's. Each image
// has the platform of its descriptor, or else of its config.
//
// Two images for one platform are a usage error, and so are annotations where
// no index is made. Name the root afterwards; nothing does before.
func Assemble(layout *Layout, images []v1.Descriptor, annotations map[string]string) (v1.Descriptor, error) {
	all := append([]v1.Descriptor{}, images...)
	if err := layout.completePlatforms(all); err != nil {
		return v1.Descriptor{}, fmt.Errorf("assemble images: %w", err)
	}
	if _, err := layout.reachable(all...); err != nil {
		return v1.Descriptor{}, fmt.Errorf("assemble images: %w", err)
	}
	if err := checkPlatforms(all); err != nil {
		return v1.Descriptor{}, err
	}
	switch {
	case len(all) == 0:
		return v1.Descriptor{}, fault.Usage(fmt.Errorf("assemble images: there is none"), "")
	case len(all) == 1 && len(annotations) > 0:
		return v1.Descriptor{}, fault.Usage(fmt.Errorf("annotations of an index: the image is for %s alone, so there is no index", all[0].Platform),
			"annotate the manifest, or build for several platforms")
	case len(all) == 1:
		return all[0], nil
	}
	index := ocispecs.Index{MediaType: ocispecs.MediaTypeImageIndex, Annotations: annotations}
	index.SchemaVersion = 2
	for _, desc := range all {
		index.Manifests = append(index.Manifests, ociDescriptor(desc))
	}
	raw, err := marshalDocument(index)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return layout.putRaw(types.OCIImageIndex, raw)
}

// checkPlatforms refuses two images of one platform: which of them a machine
// would run, only its runtime knows.
func checkPlatforms(images []v1.Descriptor) error {
	seen := map[string]v1.Hash{}
	for _, desc := range images {
		p := normal(*desc.Platform)
		if p.OS == "" || p.Architecture == "" {
			return fault.Failed(fmt.Errorf("image %s: its config names no platform", desc.Digest), "")
		}
		if other, twice := seen[p.String()]; twice {
			return fault.Usage(fmt.Errorf("two images for %s: %s and %s", p, other, desc.Digest), "an index has one image for each platform")
		}
		seen[p.String()] = desc.Digest
	}
	return nil
}
