package stepup

import "net/http"

// The quick way through CheckTarget and Clean: one look at each byte proves of
// nearly every request that there is nothing to find fault with. What it cannot
// prove it leaves to the checks themselves, which have the only say in what is
// refused, and why.

// Classes of bytes, for looking at each once.
const (
	plainInPath  byte = 1 << iota // in a path it stands for itself, escaped or not
	plainInQuery                  // may stand in a query as it is
)

// byteClasses are the classes of each byte.
var byteClasses = classifyBytes()

func classifyBytes() *[256]byte {
	classes := new([256]byte)
	for i := range classes {
		c := byte(i)
		if isAlphanumeric(c) {
			classes[i] = plainInPath | plainInQuery
		}
	}
	// url.URL escapes the rest of pathPunctuation when it writes a path, and a
	// parenthesis can begin a segment that is dropped.
	for _, c := range []byte("-._~$&+,=:@/") {
		classes[c] |= plainInPath
	}
	for _, c := range []byte(queryPunctuation) {
		classes[c] |= plainInQuery
	}
	return classes
}

// isCanonical reports that CheckTarget has nothing against a request: a usual
// method, a target that is a plain path with a query, and a URL that says the
// same. False says nothing.
func isCanonical(r *http.Request) bool {
	u := r.URL
	if u == nil || u.Opaque != "" || u.User != nil || u.Host != "" || u.RawPath != "" || u.Fragment != "" || u.RawFragment != "" {
		return false
	}
	for _, c := range []byte(r.Method) {
		if (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	if hostProblem(r.Host) != "" || !isPlainPath(u.Path) || !isPlainQuery(u.RawQuery) {
		return false
	}
	target := r.RequestURI
	if target == "" {
		return true
	}
	// What was sent is nearly always what the URL says, and needs no look of its
	// own then. An empty query is one with a question mark at the end.
	path, rest := len(u.Path), len(u.Path)+1
	switch {
	case len(target) < path || target[:path] != u.Path:
		return false
	case len(target) == path:
		return u.RawQuery == ""
	default:
		return target[path] == '?' && target[rest:] == u.RawQuery
	}
}

// isPlainPath reports that pathProblem finds nothing in a path that has no escapes,
// and that url.URL writes it as it is.
func isPlainPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	before := byte(0)
	for i := range len(path) {
		c := path[i]
		if byteClasses[c]&plainInPath == 0 {
			return false
		}
		if c == '/' && (before == '/' || before == '.') {
			return false
		}
		before = c
	}
	return before != '.'
}

// isPlainQuery reports that queryProblem finds nothing.
func isPlainQuery(query string) bool {
	for i := 0; i < len(query); i++ {
		c := query[i]
		if byteClasses[c]&plainInQuery != 0 {
			continue
		}
		if c != '%' {
			return false
		}
		octet, ok := unescape(query, i)
		if !ok || octet == 0 {
			return false
		}
		i += 2
	}
	return true
}

// lacksOverride reports that hasOverrideField finds nothing: no name in the query
// has an escape or the word that the field is made of. Values can have both.
func lacksOverride(query string) bool {
	const word = "method"
	inName := true
	for i := range len(query) {
		c := query[i]
		switch {
		case c == '&' || c == ';' || c == '\r' || c == '\n':
			inName = true
		case !inName:
		case c == '=':
			inName = false
		case c == '%' || c >= 0x80:
			return false
		case c|0x20 == word[0] && hasWord(query[i:], word):
			return false
		}
	}
	return true
}

// hasWord reports whether text begins with a word of small letters, in any case.
func hasWord(text, word string) bool {
	if len(text) < len(word) {
		return false
	}
	for i := range len(word) {
		if text[i]|0x20 != word[i] {
			return false
		}
	}
	return true
}
