package analysis

import (
	"bytes"
	"fmt"
)

// bounds are what a text file may hold before a parser makes values of it. Those
// are many times as large as the text, and keep all the keys above them.
//
// What is measured is how much there is, not whether it is right: that is left
// to the parser.
type bounds struct {
	size    int64 // bytes of the file
	depth   int   // brackets, and parts of a dotted key, inside each other
	values  int   // keys, elements and objects
	objects int   // of JSON; 0: as many as values
	text    int   // bytes of one string
}

// noText is for parsers that keep a string as it is.
const noText = 1 << 30

// meter counts what a text holds.
type meter struct {
	bounds
	count int
}

func (m *meter) value() error {
	if m.count++; m.count > m.values {
		return fmt.Errorf("%w: more than %d values", errTooLarge, m.values)
	}
	return nil
}

func (m *meter) nested(depth int) error {
	if depth > m.depth {
		return fmt.Errorf("%w: values inside each other, more than %d deep", errTooLarge, m.depth)
	}
	return nil
}

func (m *meter) string(size int) error {
	if size > m.text {
		return fmt.Errorf("%w: a string of %d bytes, more than %d", errTooLarge, size, m.text)
	}
	return nil
}

// read returns the content, unless it is too large.
func (b bounds) read(c *content) ([]byte, error) {
	if c.size > b.size {
		return nil, tooLarge(c.size, b.size)
	}
	return c.bytes()
}

// json checks a JSON file.
func (b bounds) json(c *content) error {
	data, err := b.read(c)
	if err != nil {
		return err
	}
	return b.checkJSON(data)
}

func (b bounds) checkJSON(data []byte) error {
	m, depth, objects := meter{bounds: b}, 0, 0
	for i := 0; i < len(data); i++ {
		var err error
		switch data[i] {
		case '"':
			n := literal(data[i:], `"`, true)
			err = m.string(n)
			i += n - 1
		case '{', '[':
			if depth++; data[i] == '{' {
				objects++
			}
			if err = m.nested(depth); err == nil {
				err = m.value()
			}
			if b.objects > 0 && objects > b.objects {
				err = fmt.Errorf("%w: more than %d objects", errTooLarge, b.objects)
			}
		case '}', ']':
			depth = max(depth-1, 0)
		case ',':
			err = m.value()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// xml checks an XML file. Its decoder bounds the depth itself.
func (b bounds) xml(c *content) error {
	data, err := b.read(c)
	if err != nil {
		return err
	}
	if n := bytes.Count(data, []byte("<")); n > b.values {
		return fmt.Errorf("%w: %d tags, more than %d", errTooLarge, n, b.values)
	}
	return nil
}

// toml checks a TOML file.
func (b bounds) toml(c *content) error {
	data, err := b.read(c)
	if err != nil {
		return err
	}
	return b.checkTOML(data)
}

// tomlMeter follows a TOML text. In it, dots nest as brackets do, and a header
// ("[a.b]") counts for all the lines below it.
type tomlMeter struct {
	meter
	header bool  // inside one
	table  int   // depth of the last one
	open   []int // depth of each bracket
	dots   int   // of the key so far
}

func (b bounds) checkTOML(data []byte) error {
	m := tomlMeter{meter: meter{bounds: b}}
	start := true // of a line
	for i := 0; i < len(data); i++ {
		c := data[i]
		n := 1
		switch c {
		case '#':
			if n = bytes.IndexByte(data[i:], '\n'); n < 0 {
				return nil
			}
		case '"', '\'':
			n = quoted(data[i:])
			if err := m.string(n); err != nil {
				return err
			}
		default:
			if err := m.next(c, start); err != nil {
				return err
			}
		}
		start = c == '\n' || start && (c == ' ' || c == '\t' || c == '\r')
		i += n - 1
	}
	return nil
}

// level is how deep the value being read is.
func (m *tomlMeter) level() int {
	depth := m.table + m.dots
	for _, d := range m.open {
		depth += d
	}
	return depth
}

// next takes a byte that is in no string and no comment.
func (m *tomlMeter) next(c byte, lineStart bool) error {
	switch c {
	case '[', '{':
		if lineStart && c == '[' && len(m.open) == 0 {
			m.header, m.table, m.dots = true, 0, 0
			return m.value()
		}
		if m.header {
			return nil // the second of "[["
		}
		m.open = append(m.open, 1+m.dots)
		m.dots = 0
		if err := m.value(); err != nil {
			return err
		}
		return m.nested(m.level())
	case ']', '}':
		if m.header {
			m.table = max(m.table, m.dots+1)
			return nil
		}
		m.dots = 0
		if len(m.open) > 0 {
			m.open = m.open[:len(m.open)-1]
		}
	case '.':
		m.dots++
		return m.nested(m.level())
	case '\n':
		m.header, m.dots = false, 0
	case ',':
		m.dots = 0
		return m.value()
	case '=':
		return m.value()
	}
	return nil
}

// quoted returns the length of the TOML string that data starts with.
func quoted(data []byte) int {
	for _, quote := range []string{`"""`, `'''`} {
		if bytes.HasPrefix(data, []byte(quote)) {
			return literal(data, quote, quote[0] == '"')
		}
	}
	quote := string(data[:1])
	return literal(data, quote, quote == `"`)
}

// literal returns the length of the string that data starts with, quotes
// included; all of data when it is never closed. One in single quotes, which
// JSON does not have, and in double ones, ends with its line at the latest: what
// is not closed there is a mistake, which the parser reports.
func literal(data []byte, quote string, escapes bool) int {
	for i := len(quote); i < len(data); i++ {
		switch {
		case data[i] == '\n' && len(quote) == 1:
			return i
		case escapes && data[i] == '\\' && i+1 < len(data) && data[i+1] != '\n':
			i++
		case data[i] == quote[0] && bytes.HasPrefix(data[i:], []byte(quote)):
			return i + len(quote)
		}
	}
	return len(data)
}
