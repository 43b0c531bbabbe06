package kept

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func digest(t *testing.T, of string) v1.Hash {
	t.Helper()
	h, _, err := v1.SHA256(strings.NewReader(of))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(t *testing.T, c *Answers, h v1.Hash) (string, bool) {
	t.Helper()
	f, ok := c.Get(h)
	if !ok {
		return "", false
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), true
}

func TestAnAnswerIsThereForItsLayerAndKeyOnly(t *testing.T) {
	root := t.TempDir()
	c, layer := In(root, "one"), digest(t, "layer")
	if _, ok := c.Get(layer); ok {
		t.Error("Get: an answer in an empty cache")
	}
	if err := c.Put(layer, []byte("answer")); err != nil {
		t.Fatal(err)
	}
	if got, ok := get(t, In(root, "one"), layer); !ok || got != "answer" {
		t.Errorf("Get after Put: %q, %v; want the answer", got, ok)
	}
	if _, ok := In(root, "two").Get(layer); ok {
		t.Error("Get: an answer of another key")
	}
	if _, ok := c.Get(digest(t, "other")); ok {
		t.Error("Get: an answer about another layer")
	}
}

func TestAnAnswerThatIsNotWhatWasPutThereIsNone(t *testing.T) {
	c, layer, other := In(t.TempDir(), "key"), digest(t, "layer"), digest(t, "other")
	for _, h := range []v1.Hash{layer, other} {
		if err := c.Put(h, []byte("answer about "+h.Hex)); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(c.path(layer))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(c.path(other))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing":          "",
		"no seal":          "answer about " + layer.Hex,
		"one that was cut": string(whole[:len(whole)-1]),
		"one with more":    string(whole) + " ",
		"one that changed": strings.Replace(string(whole), "answer about "+layer.Hex, "answer About "+layer.Hex, 1),
		"another's":        string(foreign),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(c.path(layer), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if got, ok := get(t, c, layer); ok {
				t.Errorf("Get: %q; want none", got)
			}
		})
	}
	if err := c.Put(layer, make([]byte, maxAnswer)); err == nil {
		t.Error("Put kept an answer that Get refuses")
	}
}

func TestAPipeInThePlaceOfAnAnswerKeepsNobodyWaiting(t *testing.T) {
	c, layer := In(t.TempDir(), "key"), digest(t, "layer")
	if err := c.Put(layer, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.path(layer)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", c.path(layer)); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get(layer); ok {
		t.Error("Get opened what is no regular file")
	}
}

func TestTrimRemovesWhatWasUnusedForLongest(t *testing.T) {
	root := t.TempDir()
	old, used := In(root, "old"), In(root, "new")
	long := time.Now().Add(-time.Hour)
	for _, put := range []struct {
		c  *Answers
		of string
	}{{old, "a"}, {used, "a"}, {used, "b"}} {
		h := digest(t, put.of)
		if err := put.c.Put(h, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(put.c.path(h), long, long); err != nil {
			t.Fatal(err)
		}
	}
	get(t, used, digest(t, "b"))
	if err := used.Trim(300); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(root, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0] != used.path(digest(t, "b")) {
		t.Errorf("after Trim: %v; want only the answer that was used", left)
	}
}
