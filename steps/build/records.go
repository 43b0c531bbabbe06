package build

import (
	"encoding/json"
	"errors"
	"strings"
)

var errOpenQuote = errors.New("a double quote is not closed")

// records splits text as docker/build-push-action splits its lists: every line
// is a record, commas are kept. A record, or a field of it after a comma, that
// begins with a double quote ends at the next one, may span lines, and "" in it
// is a quote; that is how a secret of several lines is written. Nothing is
// trimmed; empty records are dropped.
//
// Rules: https://github.com/docker/build-push-action#customizing and
// Util.getList of docker/actions-toolkit (relaxed CSV).
func records(text string) ([]string, error) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if list, ok := strings.CutPrefix(text, "json:"); ok || strings.HasPrefix(text, "[") {
		var out []string
		if err := json.Unmarshal([]byte(list), &out); err != nil {
			return nil, errors.New("not a JSON array of strings") // not err: it may quote the value
		}
		return out, nil
	}
	var out []string
	for text != "" {
		record, rest, err := cutRecord(text)
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(record) != "" {
			out = append(out, record)
		}
		text = rest
	}
	return out, nil
}

// joined undoes the quoting of lists that arrive as lines already: an item that
// begins with a double quote is continued by those after it up to the closing
// one. Other items are taken as they are; commas and quotes inside them mean
// nothing.
func joined(items []string) ([]string, error) {
	var out []string
	for i := 0; i < len(items); i++ {
		item := items[i]
		for strings.HasPrefix(item, `"`) {
			record, _, err := cutRecord(item)
			if err == nil {
				item = record
				break
			}
			if i++; i == len(items) {
				return nil, err
			}
			item += "\n" + items[i]
		}
		out = append(out, item)
	}
	return out, nil
}

// cutRecord takes the first record off text.
func cutRecord(text string) (record, rest string, err error) {
	var b strings.Builder
	for {
		quoted, ok := strings.CutPrefix(text, `"`)
		if ok {
			value, after, err := cutQuoted(quoted)
			if err != nil {
				return "", "", err
			}
			b.WriteString(value)
			text = after
		}
		end := strings.IndexAny(text, ",\n") // what follows a closing quote belongs to the field too
		if end < 0 {
			b.WriteString(text)
			return b.String(), "", nil
		}
		b.WriteString(text[:end])
		if text[end] == '\n' {
			return b.String(), text[end+1:], nil
		}
		b.WriteByte(',')
		text = text[end+1:]
	}
}

// cutQuoted reads up to the closing quote.
func cutQuoted(text string) (value, rest string, err error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, `"`)
		if !found {
			return "", "", errOpenQuote
		}
		b.WriteString(before)
		if !strings.HasPrefix(after, `"`) {
			return b.String(), after, nil
		}
		b.WriteByte('"')
		text = after[1:]
	}
}
