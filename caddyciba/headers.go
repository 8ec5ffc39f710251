package caddyciba

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// Placeholders that the values of header_up know.
const (
	claimsPrefix   = "ciba.claims."
	transactionKey = "ciba.transaction"
)

// plainHeaderName leaves out what upstreams fold together: some take _ and . for
// the - that they look like.
var plainHeaderName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)

// checkTokenHeader refuses names that would break or reinterpret the request.
func checkTokenHeader(name string) error {
	if name == off {
		return nil
	}
	return checkHeaderName(name)
}

func checkHeaderName(name string) error {
	if !plainHeaderName.MatchString(name) {
		return fmt.Errorf("'%s' is not a header name that all upstreams understand alike", name)
	}
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Dpop", "Connection", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding",
		"Te", "Trailer", "Upgrade", "Expect", "Cookie", "Keep-Alive", "Proxy-Connection":
		return fmt.Errorf("header '%s' has a meaning of its own and cannot be set by the gate", name)
	}
	return nil
}

// headerTemplates are the headers of header_up.
type headerTemplates map[string]*template

// headerTemplates takes the values of header_up apart.
func (h *Handler) headerTemplates() (headerTemplates, error) {
	templates := make(headerTemplates, len(h.HeaderUp))
	for name, value := range h.HeaderUp {
		t, err := parseHeaderUp(name, value)
		if err != nil {
			return nil, fmt.Errorf("header_up: %w", err)
		}
		canonical := http.CanonicalHeaderKey(name)
		if templates[canonical] != nil {
			return nil, fmt.Errorf("header_up: %s is set twice", canonical)
		}
		if strings.EqualFold(name, h.Token) {
			return nil, fmt.Errorf("header_up: %s carries the token", canonical)
		}
		templates[canonical] = t
	}
	return templates, nil
}

// parseHeaderUp checks one header of header_up.
func parseHeaderUp(name, value string) (*template, error) {
	err := checkHeaderName(name)
	if err != nil {
		return nil, err
	}
	return splitTemplate(value, func(key string) error {
		claim, ok := strings.CutPrefix(key, claimsPrefix)
		if key == transactionKey || ok && claim != "" {
			return nil
		}
		return fmt.Errorf("unknown placeholder {%s}: here there are {ciba.claims.NAME} and {ciba.transaction}", key)
	})
}

func (h headerTemplates) names() []string {
	return slices.Sorted(maps.Keys(h))
}

// set sets the headers on an approved request. Callers' own headers of these
// names are gone already.
func (h headerTemplates) set(header http.Header, approval *stepup.Approval) {
	lookup := func(key string) (string, bool, error) {
		if key == transactionKey {
			return approval.Transaction.ID, true, nil
		}
		text, ok := claimText(approval.Claims.Raw[strings.TrimPrefix(key, claimsPrefix)])
		return text, ok, nil
	}
	for name, t := range h {
		value, err := t.fill(nil, lookup)
		if err == nil {
			header.Set(name, value)
		}
	}
}

// claimText returns a claim that is a single value which can stand in a header.
func claimText(claim any) (string, bool) {
	switch value := claim.(type) {
	case string:
		bad := strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f })
		return value, !bad
	case bool:
		return strconv.FormatBool(value), true
	case fmt.Stringer: // json.Number
		return value.String(), true
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64), true
	}
	return "", false
}

// ownHeaders are the headers that nobody but the gate may set, on any path of
// the site. Authorization is not among them: other paths have their own use for
// it.
func (h *Handler) ownHeaders() []string {
	names := []string{}
	for name := range h.HeaderUp {
		names = append(names, http.CanonicalHeaderKey(name))
	}
	if h.Token != "" && h.Token != off {
		names = append(names, http.CanonicalHeaderKey(h.Token))
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == defaultToken })
	slices.Sort(names)
	return names
}
