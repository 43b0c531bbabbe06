package source

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// parseHeader returns the lines before the first empty one, by their first
// word. Of a repeated name the first line counts; continuation lines begin with
// a space and belong to none.
func parseHeader(object string) map[string]string {
	header := map[string]string{}
	for line := range strings.Lines(object) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, " ")
		if _, seen := header[name]; name != "" && !seen {
			header[name] = value
		}
	}
	return header
}

// lastSecond is the end of year 9999: what comes after has no RFC 3339 form.
const lastSecond = 253402300799

// parseDate reads the time of "Name <mail> 1700900000 +0100": seconds since
// 1970, whose zone is only for display.
func parseDate(person string) (time.Time, error) {
	_, stamp, ok := cutLast(person, "> ")
	seconds, _, _ := strings.Cut(stamp, " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if !ok || err != nil || n < 0 || n > lastSecond {
		return time.Time{}, fmt.Errorf("its committer %q has no date", person)
	}
	return time.Unix(n, 0).UTC(), nil
}

// cutLast cuts s at the last separator: a name may contain it.
func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}
