package test

import (
	"io"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// oldImageGoesOn: the image of the build before was scanned and tagged, and can
// still be pushed.
func (s *scene) oldImageGoesOn() {
	s.t.Helper()
	digest, tags := s.recorded()
	s.must("push", "--images=REGISTRY/new")
	for _, tag := range tags {
		if at := s.at("new", tag); at != digest {
			s.t.Errorf("tag %s is at %q, want the image of the build before, %s", tag, at, digest)
		}
	}
}

// pushIsRefused: a scan that did not end leaves no verdict.
func (s *scene) pushIsRefused() {
	s.t.Helper()
	if code, said := s.run("push", "--images=REGISTRY/new"); code != 3 {
		s.t.Errorf("push without a verdict ended with code %d, want 3:\n%s", code, said)
	}
	s.noTagMoved()
}

// noTagMoved: nothing points to an image of which parts may be missing.
func (s *scene) noTagMoved() {
	s.t.Helper()
	_, tags := s.recorded()
	for _, tag := range tags {
		if at := s.at("new", tag); at != "" {
			s.t.Errorf("tag %s is at %s, want none", tag, at)
		}
	}
}

// firstTagIsWhole: a tag that did move has the whole image.
func (s *scene) firstTagIsWhole() {
	s.t.Helper()
	digest, tags := s.recorded()
	if at := s.at("new", tags[0]); at != digest {
		s.t.Errorf("tag %s is at %q, want %s", tags[0], at, digest)
	}
	if at := s.at("new", "latest"); at != "" {
		s.t.Errorf("tag latest is at %s, want none", at)
	}
	s.checkPulls("new", tags[0])
}

// newestIsWhole: what prune keeps can be pulled.
func (s *scene) newestIsWhole() {
	s.t.Helper()
	s.checkPulls("old", "v1.2.0")
}

func (s *scene) checkPulls(repository, tag string) {
	s.t.Helper()
	pulled, err := remote.Image(s.world.reference(s.t, s.repository(repository)+":"+tag))
	check(s.t, err)
	layers, err := pulled.Layers()
	check(s.t, err)
	_, err = pulled.RawConfigFile()
	check(s.t, err)
	for _, layer := range layers {
		content, err := layer.Compressed()
		check(s.t, err)
		if _, err := io.Copy(io.Discard, content); err != nil {
			s.t.Errorf("pull %s:%s: %v", repository, tag, err)
		}
		check(s.t, content.Close())
	}
}
