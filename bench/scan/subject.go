package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagewright/imagewright/test/images"
)

// subject is an image that is scanned.
type subject struct {
	name    string
	archive string // of docker save
	size    int64  // of it, bytes
	image   v1.Image
}

// subjects are the images of the benchmark.
type subjects struct {
	lists subject // a Debian with the package lists that debootstrap leaves
	app   subject // a Debian without them, and an application in a second layer
}

func makeSubjects(ctx context.Context, s setting) (all subjects, err error) {
	maker := &images.Maker{Cache: filepath.Join(s.Root, ".cache", "images"), Log: os.Stdout}
	full, err := maker.DebianWithLists(ctx)
	if err != nil {
		return all, err
	}
	if all.lists, err = s.save("with package lists", full); err != nil {
		return all, err
	}
	clean, err := maker.Debian(ctx)
	if err != nil {
		return all, err
	}
	if err := makeApplication(s.Root, filepath.Join(s.Work, "application")); err != nil {
		return all, err
	}
	application, err := images.DirLayer(filepath.Join(s.Work, "application"))
	if err != nil {
		return all, err
	}
	both, err := images.Compose(clean, []images.Step{{CreatedBy: "COPY application", Layer: application}}, nil)
	if err != nil {
		return all, err
	}
	all.app, err = s.save("with an application", both)
	return all, err
}

// changed is the subject with a file more, in a layer of its own: another one
// each round.
func (s setting) changed(of subject, round int) (subject, error) {
	layer, err := images.TextLayer(map[string]string{"app/changed.txt": strings.Repeat(fmt.Sprintf("round %d: nothing to see here\n", round), 1000)})
	if err != nil {
		return subject{}, err
	}
	image, err := images.Compose(of.image, []images.Step{{CreatedBy: "COPY changed.txt", Layer: layer}}, nil)
	if err != nil {
		return subject{}, err
	}
	return s.save(fmt.Sprintf("changed-%d", round), image)
}

// save writes the image as docker save does, with its layers uncompressed: what
// costs least to read, for both.
func (s setting) save(name string, image v1.Image) (_ subject, err error) {
	path := filepath.Join(s.Work, strings.ReplaceAll(name, " ", "-")+".tar")
	f, err := os.Create(path)
	if err != nil {
		return subject{}, err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	config, err := image.RawConfigFile()
	if err != nil {
		return subject{}, err
	}
	layers, err := image.Layers()
	if err != nil {
		return subject{}, err
	}
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	manifest := entry{Config: "config.json", RepoTags: []string{"bench/" + strings.ReplaceAll(name, " ", "-") + ":latest"}}
	if err := add(w, manifest.Config, int64(len(config)), strings.NewReader(string(config))); err != nil {
		return subject{}, err
	}
	for _, l := range layers {
		file, err := addLayer(w, l, s.Work)
		if err != nil {
			return subject{}, err
		}
		manifest.Layers = append(manifest.Layers, file)
	}
	document, err := json.Marshal([]entry{manifest})
	if err != nil {
		return subject{}, err
	}
	if err := add(w, "manifest.json", int64(len(document)), strings.NewReader(string(document))); err != nil {
		return subject{}, err
	}
	if err := w.Close(); err != nil {
		return subject{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return subject{}, err
	}
	return subject{name, path, info.Size(), image}, nil
}

// addLayer adds a layer's tar, whose size shows only at its end.
func addLayer(w *tar.Writer, l v1.Layer, work string) (string, error) {
	id, err := l.DiffID()
	if err != nil {
		return "", err
	}
	content, err := l.Uncompressed()
	if err != nil {
		return "", err
	}
	defer content.Close()
	tmp, err := os.CreateTemp(work, "layer-")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	size, err := io.Copy(tmp, content)
	if err != nil {
		return "", err
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	file := id.Hex + "/layer.tar"
	return file, add(w, file, size, tmp)
}

func add(w *tar.Writer, name string, size int64, content io.Reader) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	_, err := io.Copy(w, content)
	return err
}
