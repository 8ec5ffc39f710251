package stepup

import (
	"net/http"
	"strings"
)

// Clean removes from a request whatever could pass for something of ours, or
// make what is behind us see another request than the one at hand. It is called
// on every path through the gate, also when the request only passes through.
//
//   - names are the headers that we may ever set. They are removed in every
//     spelling that a back end may fold into one: any case, and "-", "_" or "."
//     for each other.
//   - A header that may occur once occurs once, and has no second spelling.
//   - Connection names no end-to-end header. It is removed, with what belongs to
//     the caller's own connection; an upgrade is left for who allows one.
//   - Nothing overrides the method or the target.
//   - Expect is 100-continue and removed, as the body has been or will be read.
//   - Announced trailers are dropped.
//
// The error is a *Refusal; r is then of no more use.
func Clean(r *http.Request, names ...string) error {
	checks := []func(*http.Request) error{
		checkOverrides,
		checkSingleValued,
		checkConnection,
		checkExpect,
		checkHostHeader,
	}
	for _, check := range checks {
		err := check(r)
		if err != nil {
			return err
		}
	}
	own := make(map[string]bool, len(names))
	for _, name := range names {
		own[foldHeader(name)] = true
	}
	for name := range r.Header {
		folded := foldHeader(name)
		if own[folded] || hopByHop[folded] && !keptForUpgrade(r, folded) {
			delete(r.Header, name)
		}
	}
	r.Trailer = nil
	return nil
}

// foldHeader maps all spellings that some software takes for one header to one
// string: CGI and its successors fold "-", "_" and "." to "_".
func foldHeader(name string) string {
	if common, ok := commonHeaders[name]; ok {
		return common
	}
	return strings.Map(func(char rune) rune {
		if char == '_' || char == '.' {
			return '-'
		}
		return char
	}, strings.ToLower(name))
}

// commonHeaders are names that nearly every request has, folded once.
var commonHeaders = foldAll("Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control",
	"Connection", "Content-Length", "Content-Type", "Cookie", "Origin", "Referer", "Sec-Fetch-Dest",
	"Sec-Fetch-Mode", "Sec-Fetch-Site", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto")

func foldAll(names ...string) map[string]string {
	folded := make(map[string]string, len(names))
	for _, name := range names {
		folded[name] = strings.ToLower(name)
	}
	return folded
}

// overrides are headers by which a back end is told another method or target
// than that of the request line (threats G06).
var overrides = map[string]bool{
	"x-http-method-override": true,
	"x-http-method":          true,
	"x-method-override":      true,
	"x-original-url":         true,
	"x-rewrite-url":          true,
}

// singleValued are the headers that decide what a request means or who sends
// it. Of two values one back end takes the first and another the last.
var singleValued = map[string]bool{
	"authorization":     true,
	"content-encoding":  true,
	"content-length":    true,
	"content-type":      true,
	"expect":            true,
	"host":              true,
	"idempotency-key":   true,
	"transfer-encoding": true,
}

// maxIdempotencyKey is the length in bytes that a key may have (threats G15).
const maxIdempotencyKey = 255

func checkSingleValued(r *http.Request) error {
	seen := make(map[string]int, len(singleValued))
	for name, values := range r.Header {
		folded := foldHeader(name)
		if !singleValued[folded] {
			continue
		}
		if folded != strings.ToLower(name) && folded != "authorization" {
			// Not removed in silence: the caller means something by it. Other
			// spellings of Authorization go with the header itself.
			return refuse(ProblemHeader, "Nothing was sent. A header is spelled with an underscore or a dot.", nil)
		}
		seen[folded] += len(values)
	}
	for _, count := range seen {
		if count > 1 {
			return refuse(ProblemHeader, "Nothing was sent. A header that may occur once occurs more often.", nil)
		}
	}
	for _, key := range r.Header["Idempotency-Key"] {
		if key == "" || len(key) > maxIdempotencyKey || !isVisibleASCII(key) {
			return refuse(ProblemHeader, "Nothing was sent. An Idempotency-Key has 1 to 255 visible ASCII characters.", nil)
		}
	}
	return nil
}

func isVisibleASCII(text string) bool {
	for _, c := range []byte(text) {
		if c < 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}

// hopByHop are the headers of the caller's connection to us (RFC 9110 section
// 7.6.1), which end here. TE stays if it asks for trailers, as gRPC needs it.
var hopByHop = map[string]bool{
	"connection":        true,
	"http2-settings":    true,
	"keep-alive":        true,
	"proxy-connection":  true,
	"te":                true,
	"trailer":           true,
	"transfer-encoding": true,
	"upgrade":           true,
	"expect":            true,
	"host":              true,
}

// connectionOptions are what a Connection header may name. Anything else would
// be removed by the next proxy, after we have relied on it (threats F4, G05).
var connectionOptions = map[string]bool{
	"close":            true,
	"http2-settings":   true,
	"keep-alive":       true,
	"proxy-connection": true,
	"te":               true,
	"trailer":          true,
	"upgrade":          true,
}

func checkConnection(r *http.Request) error {
	for name, values := range r.Header {
		folded := foldHeader(name)
		if folded != "connection" && folded != "proxy-connection" {
			continue
		}
		for _, value := range values {
			for option := range strings.SplitSeq(value, ",") {
				option = strings.ToLower(strings.Trim(option, " \t"))
				if option != "" && !connectionOptions[option] {
					return refuse(ProblemConnection, "Nothing was sent. Connection may name headers of the connection only.", nil)
				}
			}
		}
	}
	return nil
}

// keptForUpgrade reports whether a hop-by-hop header stays, and reduces it to
// what it is kept for.
func keptForUpgrade(r *http.Request, folded string) bool {
	switch folded {
	case "te":
		return len(r.Header["Te"]) == 1 && strings.EqualFold(r.Header["Te"][0], "trailers")
	case "connection":
		if !asksForUpgrade(r) {
			return false
		}
		r.Header["Connection"] = []string{"Upgrade"}
		return true
	case "upgrade":
		return asksForUpgrade(r)
	default:
		return false
	}
}

// asksForUpgrade reports whether the request wants to leave HTTP (RFC 9110
// section 7.8).
func asksForUpgrade(r *http.Request) bool {
	if len(r.Header["Upgrade"]) == 0 {
		return false
	}
	for _, value := range r.Header["Connection"] {
		for option := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(option, " \t"), "upgrade") {
				return true
			}
		}
	}
	return false
}

// checkUpgrade refuses what turns a request into a tunnel, in which nobody can
// say what was approved (threats G17). It is for guarded routes, before Clean.
func checkUpgrade(r *http.Request) error {
	tunnel := r.Method == http.MethodConnect || len(r.Header[":protocol"]) > 0
	for name := range r.Header {
		if foldHeader(name) == "upgrade" {
			tunnel = true
		}
	}
	if tunnel {
		return refuse(ProblemUpgrade, "Nothing was sent. Send a plain HTTP request.", nil)
	}
	return nil
}

// checkExpect allows 100-continue alone (RFC 9110 section 10.1.1). The server
// answers it by itself when the body is first read.
func checkExpect(r *http.Request) error {
	for name, values := range r.Header {
		if foldHeader(name) != "expect" {
			continue
		}
		for _, value := range values {
			if !strings.EqualFold(value, "100-continue") {
				return refuse(ProblemExpectation, "Nothing was sent. Only 100-continue can be expected.", nil)
			}
		}
	}
	return nil
}

// checkHostHeader compares a Host header with the authority of the request:
// HTTP/2 can carry both (threats G02).
func checkHostHeader(r *http.Request) error {
	for _, host := range r.Header["Host"] {
		if !strings.EqualFold(host, r.Host) {
			return refuse(ProblemTarget, "Nothing was sent. The Host header names another host than the request.", nil)
		}
	}
	return nil
}
