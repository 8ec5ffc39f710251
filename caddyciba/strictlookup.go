package caddyciba

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// The placeholders of Caddy that stand for one of what a request can have several
// of.
const (
	headerKey = "http.request.header."
	queryKey  = "http.request.uri.query."
	cookieKey = "http.request.cookie."
)

// errSeveral says that a request has several values of which one reader takes
// the first and another one the last.
var errSeveral = errors.New("occurs more than once in this request, or in a second spelling")

// strictly answers for headers, query parameters and cookies by itself: from the
// request that is going to be sent, and only if there is one value in one
// spelling. All other placeholders are looked up as ever.
func strictly(s *stepup.Snapshot, lookup func(string) (string, bool)) func(string) (string, bool, error) {
	return func(key string) (string, bool, error) {
		name, found := strings.CutPrefix(key, headerKey)
		if found && !strings.EqualFold(name, "Host") {
			return oneHeader(s.Header(), name)
		}
		name, found = strings.CutPrefix(key, queryKey)
		if found {
			return oneParameter(s.Target(), name)
		}
		name, found = strings.CutPrefix(key, cookieKey)
		if found {
			return oneCookie(s.Header(), name)
		}
		text, known := lookup(key)
		return text, known, nil
	}
}

// oneHeader finds the one header of a name. Upstreams take "-", "_" and "." for
// each other.
func oneHeader(header http.Header, name string) (string, bool, error) {
	fold := strings.NewReplacer("_", "-", ".", "-")
	var values []string
	for have, list := range header {
		if strings.EqualFold(fold.Replace(have), fold.Replace(name)) {
			values = append(values, list...)
		}
	}
	return one(values, len(header.Values(name)) == len(values))
}

// oneParameter finds the one query parameter of a name. Upstreams differ about
// case, and about semicolons, which the check of the target has refused.
func oneParameter(target, name string) (string, bool, error) {
	_, query, _ := strings.Cut(target, "?")
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return "", false, errSeveral
	}
	var values []string
	for have, list := range parameters {
		base, _, _ := strings.Cut(have, "[")
		if strings.EqualFold(strings.TrimSpace(base), name) || strings.EqualFold(have, name) {
			values = append(values, list...)
		}
	}
	return one(values, len(parameters[name]) == len(values))
}

// oneCookie finds the one cookie of a name.
func oneCookie(header http.Header, name string) (string, bool, error) {
	request := http.Request{Header: header}
	var values []string
	exact := true
	for _, cookie := range request.Cookies() {
		if strings.EqualFold(cookie.Name, name) {
			values = append(values, cookie.Value)
			exact = exact && cookie.Name == name
		}
	}
	return one(values, exact && len(header.Values("Cookie")) <= 1)
}

// one returns the only value. Exact says that there is no other spelling.
func one(values []string, exact bool) (string, bool, error) {
	switch {
	case len(values) == 0:
		return "", true, nil
	case len(values) > 1 || !exact:
		return "", true, errSeveral
	default:
		return values[0], true, nil
	}
}
