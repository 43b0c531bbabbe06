package step

import (
	"encoding/base64"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/imagewright/imagewright/internal/ci"
)

const masked = "***"

// masker knows the secrets of a run and hides them in what its writers get.
type masker struct {
	mu      sync.Mutex
	secrets []string // longest first, so that a part never breaks up the whole
}

// add hides secret from now on: the whole, each line, and the forms in which
// headers and addresses carry it.
func (m *masker) add(secret string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, part := range ci.MaskParts(secret) {
		for _, form := range []string{part, base64.StdEncoding.EncodeToString([]byte(part)), url.QueryEscape(part), url.PathEscape(part)} {
			if !slices.Contains(m.secrets, form) {
				m.secrets = append(m.secrets, form)
			}
		}
	}
	slices.SortFunc(m.secrets, func(a, b string) int { return len(b) - len(a) })
}

func (m *masker) writer(to io.Writer) *maskedWriter { return &maskedWriter{to: to, masker: m} }

// maskedWriter holds back what may be the start of a secret until more is here.
type maskedWriter struct {
	*masker
	to   io.Writer
	held string
}

// Write implements io.Writer.
func (w *maskedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.held + string(p)
	for _, s := range w.secrets {
		text = strings.ReplaceAll(text, s, masked)
	}
	keep := w.undecided(text)
	w.held = text[len(text)-keep:]
	if _, err := io.WriteString(w.to, text[:len(text)-keep]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// undecided returns how many bytes at the end of text may be a secret's start.
func (w *maskedWriter) undecided(text string) int {
	most := 0
	for _, s := range w.secrets {
		for n := min(len(s)-1, len(text)); n > most; n-- {
			if strings.HasPrefix(s, text[len(text)-n:]) {
				most = n
			}
		}
	}
	return most
}

// flush writes what was held back: it turned out to be no secret.
func (w *maskedWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	io.WriteString(w.to, w.held) //nolint:errcheck // the last words of a process; nobody is left to tell
	w.held = ""
}

// Terminal returns the file behind a Job's Stdout or Stderr for a display that
// must know the terminal (its size, its cursor), and nil where w is no file.
// What is written to it directly is not masked.
func Terminal(w io.Writer) *os.File {
	if m, ok := w.(*maskedWriter); ok {
		w = m.to
	}
	f, _ := w.(*os.File)
	return f
}
