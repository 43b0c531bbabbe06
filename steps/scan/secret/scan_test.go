package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

const token = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"

func TestWantedAreTheFilesThatTrivyWants(t *testing.T) {
	parts := rapid.SampledFrom([]string{"etc", "usr", "lib", "share", "local", "go", "python3.12", "opt", "yarn-v1.2", "vendor", "locale", "locales",
		"test", "Test", "tests", "a-test", "a_test.go", ".test", "example", "Examples", "x.dist-info", "node_modules", ".git", "git", "go.mod", "go.mod.old",
		"a.md", "a.MD", "a.tar.gz", "b.gzip", "c.jpg.txt", "README", "src", "wordpress", "var", "log", "anaconda", "gems", "include", "\xff", "é", "K", "tKs", "a b"})
	for _, config := range configs {
		trivys, ours := newJudge(t, config), newScanner(t, config)
		rapid.Check(t, func(t *rapid.T) {
			path := strings.Join(rapid.SliceOfN(parts, 1, 5).Draw(t, "path"), "/")
			size := rapid.Int64Range(8, 12).Draw(t, "size")
			if got, want := ours.Wants(path, size), trivys.wants(path, size); got != want {
				t.Errorf("Wants(%q, %d) = %t, Trivy says %t", path, size, got, want)
			}
		})
	}
}

func TestBinaryFilesAreLeftOutButForCompiledPython(t *testing.T) {
	s := newScanner(t, "")
	text := "key = '" + token + "'\n"
	for _, tc := range []struct {
		name, path, data string
		found            bool
	}{
		{"text", "srv/a", text, true},
		{"a null among the first bytes", "srv/a", "\x00" + text, false},
		{"a null behind the head", "srv/a", strings.Repeat("x", headSize) + "\x00" + text, true},
		{"escape, form feed and bell are text", "srv/a", "\x1b\f\a\b" + text, true},
		{"compiled Python", "srv/a.pyc", "\x00" + text, true},
		{"compiled Python with a secret that is cut in two", "srv/a.pyc", "\x00" + text[:20] + "\x00" + text[20:], false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found := scan(t, s, tc.path, []byte(tc.data))
			if (len(found) > 0) != tc.found {
				t.Errorf("%d secrets found", len(found))
			}
			if diff := difference(newJudge(t, "").scan(t, tc.path, []byte(tc.data)), found); diff != "" {
				t.Errorf("findings (-Trivy +ours):\n%s", diff)
			}
		})
	}
}

// Compiled Python is scanned in the form of its printable runs, however long
// these are and wherever reads end.
func TestPrintableRunsAreTrivys(t *testing.T) {
	trivys, ours := newJudge(t, ""), newScanner(t, "")
	rapid.Check(t, func(t *rapid.T) {
		data := []byte{0}
		for range rapid.IntRange(1, 8).Draw(t, "parts") {
			part := rapid.SampledFrom([]string{" " + token + " ", "\x00", "\n", "abcd", "abcde", "\xa0\xad\xff", "é", "'"}).Draw(t, "part")
			data = append(data, strings.Repeat(part, rapid.SampledFrom([]int{1, 1, 2, 90, 2000}).Draw(t, "times"))...)
		}
		data = append(data, "0123456789"...)
		if diff := difference(trivys.scan(t, "a.pyc", data), scan(t, ours, "a.pyc", data)); diff != "" {
			t.Errorf("findings (-Trivy +ours):\n%s", diff)
		}
	})
}

func TestASessionReturnsItsFilesByPath(t *testing.T) {
	s := newScanner(t, "")
	x := s.Session(t.Context())
	for i := range 200 {
		path := fmt.Sprintf("srv/%03d", (i*7)%100)
		text := fmt.Sprintf("%d\nkey = %s\n", i, token)
		if i%3 == 0 {
			text = "no secret at all\n"
		}
		// Short reads must not move the borders of chunks.
		if err := x.Scan(path, iotest.OneByteReader(strings.NewReader(text)), int64(len(text))); err != nil {
			t.Fatal(err)
		}
	}
	files, err := x.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if want := 200 - 67; len(files) != want {
		t.Fatalf("%d files have secrets, want %d", len(files), want)
	}
	for i, f := range files {
		if i > 0 && f.FilePath < files[i-1].FilePath {
			t.Errorf("%s comes after %s", f.FilePath, files[i-1].FilePath)
		}
		// The same path again, from the same session: in the order of the scans.
		if i > 0 && f.FilePath == files[i-1].FilePath && f.Findings[0].Offset < files[i-1].Findings[0].Offset {
			t.Errorf("%s: the second scan comes before the first", f.FilePath)
		}
	}
}

func TestAScanFails(t *testing.T) {
	broken := errors.New("broken pipe")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	text := strings.Repeat("text\n", 100)
	for _, tc := range []struct {
		name string
		ctx  context.Context
		r    io.Reader
		size int64
		want error
	}{
		{"where the file ends early", t.Context(), strings.NewReader(text), 1000, io.ErrUnexpectedEOF},
		{"where the head ends early", t.Context(), strings.NewReader("text"), 1000, io.ErrUnexpectedEOF},
		{"with the file's error", t.Context(), io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), 1000, broken},
		{"when it is cancelled", cancelled, strings.NewReader(text), 500, context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScanner(t, "")
			x := s.Session(tc.ctx)
			err := x.Scan("srv/a\x1b", tc.r, tc.size)
			if _, last := x.Wait(); err == nil {
				err = last
			}
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), `"srv/a\x1b"`) {
				t.Errorf("got error %v, want %q and the path, quoted", err, tc.want)
			}
			// Whatever went wrong, the memory for chunks is free again.
			if got := scan(t, s, "srv/a", []byte(token+"\n")); len(got) != 1 || len(s.chunks) != cap(s.chunks) {
				t.Errorf("the next session finds %d secrets, with %d of %d chunks at rest", len(got), len(s.chunks), cap(s.chunks))
			}
		})
	}
}

func TestAPanicIsAnErrorOfTheSession(t *testing.T) {
	s := newScanner(t, "")
	for i := range s.rules.Rules {
		s.rules.Rules[i].Path = &pattern{text: "(not an expression"}
	}
	x := s.Session(t.Context())
	if err := x.Scan("srv/a", strings.NewReader(token+"\n"), int64(len(token)+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Wait(); err == nil || !strings.Contains(err.Error(), `"srv/a"`) || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("got error %v", err)
	}
}

func TestSoManySecretsThatNoReportHoldsThemAreAnError(t *testing.T) {
	x := newScanner(t, "").Session(t.Context())
	err := x.Scan("srv/a", endless(token+"\n"), 1<<40)
	if _, last := x.Wait(); err == nil || last == nil || !strings.Contains(last.Error(), "too many") {
		t.Errorf("got errors %v and %v", err, last)
	}
}

func TestALargeFileTakesLittleMemory(t *testing.T) {
	s := newScanner(t, "")
	x := s.Session(t.Context())
	const size = 256 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := x.Scan("srv/a", io.LimitReader(endless(strings.Repeat("nothing to see here\n", 100)), size), size); err != nil {
		t.Fatal(err)
	}
	if files, err := x.Wait(); err != nil || len(files) > 0 {
		t.Fatal(files, err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 32<<20 {
		t.Errorf("%d MB were allocated", got>>20)
	}
}

// endless is text without end.
type endless string

func (e endless) Read(p []byte) (int, error) {
	n := copy(p, e)
	for n < len(p) {
		n += copy(p[n:], p[:n])
	}
	return len(p), nil
}

func TestConfigErrorsNameTheRule(t *testing.T) {
	for _, tc := range []struct{ name, config, want string }{
		{"an expression that is none", "rules: [{id: mine, regex: '(', title: x}]", `rule "mine": regex: error parsing regexp`},
		{"a path that is none", "rules: [{id: mine, regex: 'x', path: '['}]", `rule "mine": path: error parsing regexp`},
		{"a rule's own allow rule", "rules: [{id: mine, regex: x, allow-rules: [{id: but, regex: '*'}]}]", `rule "mine": allow rule "but": regex: error`},
		{"an allow rule", "allow-rules: [{id: but, path: '*'}]", `allow rule "but": path: error`},
		{"an exclude block", "exclude-block: {regexes: ['(']}", `exclude-block: error`},
		{"an empty expression", "exclude-block: {regexes: [null]}", `exclude-block: an expression is empty`},
		{"a glob", "skip-patterns: ['a[']", `skip-patterns: "a["`},
		{"no YAML", "rules: [", "yaml: "},
		{"another kind of value", "rules: yes", "line 1: cannot unmarshal"},
		{"an empty file", "", "empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := New(Options{Config: []byte(tc.config)}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestTheIDIsThatOfTheRules(t *testing.T) {
	ids := map[string]string{}
	for _, config := range configs {
		id := newScanner(t, config).ID()
		if !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(id) || id != newScanner(t, config).ID() {
			t.Errorf("the ID is %q, and not the same each time", id)
		}
		if other, ok := ids[id]; ok {
			t.Errorf("two sets of rules have the same ID:\n%s\n%s", other, config)
		}
		ids[id] = config
	}
}

func TestTheBufferOfAStreamIsFilled(t *testing.T) {
	s := stream{r: iotest.HalfReader(bytes.NewReader(make([]byte, stride+bufferSize)))}
	buf := make([]byte, bufferSize)
	want := []place{{0, 0, 0}, {1, stride, 0}, {2, 2 * stride, 0}}
	for i, length := range []int{bufferSize, bufferSize, overlap} {
		if n, at, err := s.cut(buf); n != length || at != want[i] || err != nil {
			t.Errorf("chunk %d has %d bytes at %v (%v), want %d at %v", i, n, at, err, length, want[i])
		}
	}
	if _, _, err := s.cut(buf); err != io.EOF {
		t.Errorf("after the last chunk the error is %v, want io.EOF", err)
	}
}
