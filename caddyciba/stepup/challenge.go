package stepup

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// insufficient is the error of RFC 9470 section 3: the token is good, and whoever
// it is for has not authenticated strongly or recently enough.
const insufficient = "insufficient_user_authentication"

// maxMaxAge is the largest max_age that is believed.
const maxMaxAge = 365 * 24 * time.Hour

var errChallenge = errors.New("upstream demands an authentication that this route does not allow")

// A challenge is what an upstream wants of the customer (RFC 9470 section 3).
type challenge struct {
	acr    []string      // acr_values, of which one will do; nil for any
	maxAge time.Duration // max_age; negative for none
}

// parseChallenge finds the challenge among the WWW-Authenticate fields of a 401. A
// field that cannot be read is none.
func parseChallenge(header http.Header) (*challenge, bool) {
	for _, value := range header.Values("WWW-Authenticate") {
		for _, found := range authChallenges(value) {
			if found.params["error"] != insufficient || found.scheme != "bearer" && found.scheme != "dpop" {
				continue
			}
			c := &challenge{acr: strings.Fields(found.params["acr_values"]), maxAge: -1}
			text, given := found.params["max_age"]
			if given {
				seconds, err := strconv.ParseUint(text, 10, 32)
				if err != nil {
					continue
				}
				c.maxAge = min(time.Duration(seconds)*time.Second, maxMaxAge)
			}
			return c, true
		}
	}
	return nil, false
}

// An authChallenge is one challenge of RFC 9110 section 11.6.1, with its scheme and
// the names of its parameters in lower case.
type authChallenge struct {
	scheme string
	params map[string]string
}

// authChallenges reads the challenges of one field. What comes behind something
// that is none is left out.
func authChallenges(field string) []authChallenge {
	var list []authChallenge
	rest := field
	for {
		rest = strings.TrimLeft(rest, " \t,")
		word := leadingToken(rest)
		if word == "" {
			return list
		}
		behind := strings.TrimLeft(rest[len(word):], " \t")
		if !strings.HasPrefix(behind, "=") || len(list) == 0 {
			list = append(list, authChallenge{scheme: strings.ToLower(word), params: make(map[string]string)})
			rest = rest[len(word):]
			continue
		}
		value, after, ok := paramValue(strings.TrimLeft(behind[1:], " \t"))
		if !ok {
			return list
		}
		params := list[len(list)-1].params
		name := strings.ToLower(word)
		if _, twice := params[name]; twice {
			// Two values are none.
			return list[:len(list)-1]
		}
		params[name] = value
		rest = after
	}
}

// leadingToken is the token of RFC 9110 section 5.6.2 at the beginning.
func leadingToken(s string) string {
	end := strings.IndexFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
	if end < 0 {
		return s
	}
	return s[:end]
}

// paramValue reads a token or a quoted string, and returns what is behind it.
func paramValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value = leadingToken(s)
		return value, s[len(value):], value != ""
	}
	var text strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return text.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
			text.WriteByte(s[i])
		default:
			text.WriteByte(s[i])
		}
	}
	return "", "", false
}

// demand makes a copy of a route ask for what the challenge wants, beside what the
// operator wants.
func (c *challenge) demand(rt *Route) error {
	if len(c.acr) > 0 {
		wanted := c.acr
		if len(rt.ACR) > 0 {
			wanted = slices.DeleteFunc(slices.Clone(c.acr), func(acr string) bool { return !slices.Contains(rt.ACR, acr) })
		}
		if len(wanted) == 0 {
			return fmt.Errorf("acr_values %q: %w", strings.Join(c.acr, " "), errChallenge)
		}
		rt.ACR = wanted
		rt.AuthTimeOptional = false
	}
	if c.maxAge >= 0 {
		if !rt.FreshAuth || c.maxAge < rt.AuthAge {
			rt.AuthAge = c.maxAge
		}
		rt.FreshAuth = true
		rt.AuthTimeOptional = false
	}
	return nil
}

// demandAs makes a copy of a route demand what another one does of the customer's
// authentication, whatever an upstream has made of that.
func (rt *Route) demandAs(other *Route) {
	rt.ACR, rt.FreshAuth, rt.AuthAge, rt.AuthTimeOptional = other.ACR, other.FreshAuth, other.AuthAge, other.AuthTimeOptional
}

// challenged lets the request go on as it came, and reports whether the upstream
// answered that the customer must approve it. That answer is dropped, and the route
// now asks for what it demands. Any other answer is the caller's.
func (h *hold) challenged() (bool, error) {
	probe := &probe{w: h.w, header: h.w.Header().Clone()}
	if probe.header == nil {
		probe.header = make(http.Header)
	}
	through := h.w
	h.w = probe
	err := h.pass()
	h.w = through
	if probe.challenge == nil {
		if err == nil {
			probe.commit(0)
		}
		return false, err
	}
	h.passed = false
	h.gate.Learn(h.route, h.r, probe.header)
	route := *h.route
	err = probe.challenge.demand(&route)
	if err != nil {
		return false, refuse(ProblemMisconfigured, "Nothing was carried out. The operator has to act.", err)
	}
	h.route = &route
	h.gate.observe(Event{Type: EventChallenged, Time: h.gate.now(), Route: h.route.Name, Held: h.gate.now().Sub(h.arrived)})
	return true, nil
}

// A probe passes an answer on, unless it is a challenge. Until that is certain it
// keeps the headers to itself. It is used by one goroutine, as writers are.
type probe struct {
	w         http.ResponseWriter
	header    http.Header
	committed bool
	challenge *challenge
}

// Header implements http.ResponseWriter.
func (p *probe) Header() http.Header {
	if p.committed {
		return p.w.Header()
	}
	return p.header
}

// WriteHeader implements http.ResponseWriter.
func (p *probe) WriteHeader(status int) {
	if p.committed || p.challenge != nil {
		return
	}
	if status == http.StatusUnauthorized {
		var ok bool
		p.challenge, ok = parseChallenge(p.header)
		if ok {
			return
		}
	}
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		informed := p.w.Header()
		before := informed.Clone()
		clear(informed)
		maps.Copy(informed, p.header)
		p.w.WriteHeader(status)
		clear(informed)
		maps.Copy(informed, before)
		return
	}
	p.commit(status)
}

// commit makes the headers those of the caller's answer, and writes the status if
// there is one.
func (p *probe) commit(status int) {
	if p.committed {
		return
	}
	p.committed = true
	header := p.w.Header()
	clear(header)
	maps.Copy(header, p.header)
	if status != 0 {
		p.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter. The body of a challenge is dropped.
func (p *probe) Write(b []byte) (int, error) {
	if p.challenge != nil {
		return len(b), nil
	}
	p.commit(http.StatusOK)
	return p.w.Write(b)
}

// FlushError is found by http.ResponseController.
func (p *probe) FlushError() error {
	if p.challenge != nil {
		return nil
	}
	p.commit(http.StatusOK)
	return http.NewResponseController(p.w).Flush()
}

// Unwrap lets http.ResponseController reach what this writer does not do.
func (p *probe) Unwrap() http.ResponseWriter { return p.w }
