package registry

import "strings"

// challenge is what a registry asks for with a 401: RFC 9110, 11.6.1, and
// https://distribution.github.io/distribution/spec/auth/token/.
type challenge struct {
	scheme  string // "basic", "bearer", or "" for none
	realm   string
	service string
	scope   string
}

// pickChallenge returns the first challenge that can be met. A 401 without one
// is taken for Basic, as other clients do.
func pickChallenge(headers []string) challenge {
	unknown := ""
	for _, h := range headers {
		for _, ch := range parseChallenges(h) {
			switch ch.scheme {
			case "bearer", "basic":
				return ch
			default:
				unknown = ch.scheme
			}
		}
	}
	if unknown != "" {
		return challenge{scheme: unknown}
	}
	return challenge{scheme: "basic"}
}

// parseChallenges reads one WWW-Authenticate header, which may hold several
// challenges: Negotiate, Bearer realm="…",service="…", Basic realm="…".
func parseChallenges(h string) []challenge {
	var all []challenge
	for h != "" {
		h = strings.TrimLeft(h, " \t,")
		word, rest := token68(h)
		if word == "" {
			return all // not what the grammar has: what follows means nothing
		}
		if value, after, ok := parameter(rest); ok {
			if len(all) > 0 {
				all[len(all)-1].set(word, value)
			}
			h = after
			continue
		}
		all = append(all, challenge{scheme: strings.ToLower(word)})
		h = rest
	}
	return all
}

func (c *challenge) set(name, value string) {
	switch strings.ToLower(name) {
	case "realm":
		c.realm = value
	case "service":
		c.service = value
	case "scope":
		c.scope = value
	}
}

// token68 cuts the word at the beginning of h.
func token68(h string) (word, rest string) {
	end := strings.IndexAny(h, " \t,=\"")
	if end < 0 {
		end = len(h)
	}
	return h[:end], strings.TrimLeft(h[end:], " \t")
}

// parameter reads ="value" or =value.
func parameter(h string) (value, rest string, ok bool) {
	h, ok = strings.CutPrefix(h, "=")
	if !ok {
		return "", "", false
	}
	h = strings.TrimLeft(h, " \t")
	if !strings.HasPrefix(h, `"`) {
		value, rest = token68(h)
		return value, rest, true
	}
	var b strings.Builder
	for i := 1; i < len(h); i++ {
		switch {
		case h[i] == '"':
			return b.String(), h[i+1:], true
		case h[i] == '\\' && i+1 < len(h):
			i++
			b.WriteByte(h[i])
		default:
			b.WriteByte(h[i])
		}
	}
	return b.String(), "", true // the quote never ends
}
