package image

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/imagewright/imagewright/internal/durable"
)

const (
	// normalForm is the number of the form that Normalize gives a layer: one
	// more whenever it gives the same layer another digest.
	normalForm = 1
	// maxRemembered bounds the layers a Memory keeps, the newest: a file of at
	// most 1.5 MB.
	maxRemembered = 4096
)

// Memory remembers what layers became when they were normalized, so that no
// layer is rewritten twice. It holds digests; the blobs are in the layout.
//
// Keep it with the builder's state and not in the workspace: whoever writes it
// decides which layer an image gets.
type Memory struct {
	file string

	mu      sync.Mutex
	layers  []remembered // the newest last
	changed bool
}

// remembered is what one layer became.
type remembered struct {
	Blob   v1.Hash `json:"blob"` // as the builder made it
	From   v1.Hash `json:"from"` // diff ID of that
	Own    bool    `json:"own"`  // rewritten, not only compressed
	Digest v1.Hash `json:"digest"`
	Size   int64   `json:"size"`
	DiffID v1.Hash `json:"diffID"`
}

func (r remembered) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: types.OCILayer, Digest: r.Digest, Size: r.Size}
}

// memoryFile is how a Memory is stored.
type memoryFile struct {
	Form   int          `json:"form"`
	Layers []remembered `json:"layers"`
}

// OpenMemory returns the memory in file. What cannot be read, or is of another
// form, is forgotten.
func OpenMemory(file string) *Memory {
	m := &Memory{file: file}
	f, err := os.Open(file)
	if err != nil {
		return m
	}
	defer f.Close()
	var content memoryFile
	raw, err := readAtMost(f)
	if err != nil || json.Unmarshal(raw, &content) != nil || content.Form != normalForm {
		return m
	}
	m.layers = slices.DeleteFunc(content.Layers, func(r remembered) bool {
		return checkHash(r.Digest) != nil || checkHash(r.DiffID) != nil
	})
	return m
}

// Save writes the memory to its file, if there is anything new. Of two programs
// that save at once, one may forget what the other has learned.
func (m *Memory) Save() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.changed {
		return nil
	}
	raw, err := json.Marshal(memoryFile{normalForm, m.layers[max(0, len(m.layers)-maxRemembered):]})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(m.file), 0o755)
	}
	if err == nil {
		err = durable.WriteFile(m.file, 0o644, func(w io.Writer) error {
			_, err := w.Write(raw)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("remember the layers of this build: %w", err)
	}
	m.changed = false
	return nil
}

// recall returns what the layer blob became.
func (m *Memory) recall(blob v1.Hash, own bool) (remembered, bool) {
	if m == nil {
		return remembered{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.layers, func(r remembered) bool { return r.Blob == blob && r.Own == own })
	if i < 0 {
		return remembered{}, false
	}
	return m.layers[i], true
}

// note remembers what l became.
func (m *Memory) note(l packed, own bool, became packed) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.layers = slices.DeleteFunc(m.layers, func(r remembered) bool { return r.Blob == l.Digest && r.Own == own })
	m.layers = append(m.layers, remembered{l.Digest, l.diffID, own, became.Digest, became.Size, became.diffID})
	m.changed = true
}

// Incoming is a layout as a builder writes to it whose image will be
// normalized: it also says to have the layers it has in normalized form, so
// that they are not sent again.
type Incoming struct {
	*Layout
	Memory *Memory
}

// Has tells whether the layout has the blob, or what it became.
func (i Incoming) Has(desc v1.Descriptor) bool {
	if i.Layout.Has(desc) {
		return true
	}
	made, ok := i.Memory.recall(desc.Digest, true)
	return ok && i.Layout.Has(made.descriptor())
}
