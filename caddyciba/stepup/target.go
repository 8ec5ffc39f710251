package stepup

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// CheckTarget refuses a request whose target or method can be read in two ways,
// with 400 and before anything else is looked at. A web server in front of us
// matches a cleaned path and sends the raw one on, and what is behind us has
// rules of its own: whoever lets two spellings of one path exist lets one of
// them past the gate. It is meant for the whole site, guarded or not.
//
// Refused in the path: anything but the characters of RFC 3986 section 3.3
// without ";"; dot segments and empty segments ("//"); a segment with a dot at
// its end, a space at either or "(" at its beginning; an escape of a character that needs none (as in
// "%2e" or "%74"), of a slash, backslash, ";", "?" or "#", of a control, or of
// a percent sign that would make an escape again ("%2525"); escapes that are no
// valid UTF-8 (overlong forms among them); and escaped letters that fold into
// ASCII or vanish when folded, as "ſ", "／" or a zero-width space.
//
// Refused in the query: raw bytes that RFC 3986 does not have there, save
// "[]{}|^`" which browsers send; ";" and "\"; broken escapes and "%00".
//
// Refused as a whole: a fragment, user information, "*", CONNECT to an
// authority, an absolute form that names another host than the request, a host
// with characters that no host has, and a known method in another case.
//
// It reads both r.RequestURI, which is what the caller sent, and r.URL, which is
// what will be sent on. The error is a *Refusal.
func CheckTarget(r *http.Request) error {
	if isCanonical(r) {
		return nil
	}
	return judgeTarget(r)
}

// judgeTarget is CheckTarget without the quick way.
func judgeTarget(r *http.Request) error {
	err := checkMethod(r.Method)
	if err != nil {
		return err
	}
	reason := hostProblem(r.Host)
	if reason == "" {
		reason = rawTargetProblem(r.RequestURI, r.Host)
	}
	if reason == "" {
		reason = urlProblem(r.URL, r.Host)
	}
	if reason != "" {
		return refuse(ProblemTarget, "Nothing was sent. "+reason+".", nil)
	}
	return nil
}

// knownMethods are those of the IANA registry and QUERY.
var knownMethods = map[string]bool{
	"ACL": true, "BASELINE-CONTROL": true, "BIND": true, "CHECKIN": true,
	"CHECKOUT": true, "CONNECT": true, "COPY": true, "DELETE": true, "GET": true,
	"HEAD": true, "LABEL": true, "LINK": true, "LOCK": true, "MERGE": true,
	"MKACTIVITY": true, "MKCALENDAR": true, "MKCOL": true, "MKREDIRECTREF": true,
	"MKWORKSPACE": true, "MOVE": true, "OPTIONS": true, "ORDERPATCH": true,
	"PATCH": true, "POST": true, "PRI": true, "PROPFIND": true, "PROPPATCH": true,
	"PUT": true, "QUERY": true, "REBIND": true, "REPORT": true, "SEARCH": true,
	"TRACE": true, "UNBIND": true, "UNCHECKOUT": true, "UNLINK": true,
	"UNLOCK": true, "UPDATE": true, "UPDATEREDIRECTREF": true,
	"VERSION-CONTROL": true,
}

// checkMethod refuses a known method in another case: "post" passes a matcher
// for POST and is a POST to many back ends. Methods that nobody knows pass.
func checkMethod(method string) error {
	upper := strings.ToUpper(method)
	if method != upper && knownMethods[upper] {
		return refuse(ProblemMethod, "Nothing was sent. Write the method in capital letters.", nil)
	}
	return nil
}

// hostProblem allows what a host and port are made of: letters, digits, "-",
// "_" and "." or an IP literal in brackets, and a port. An empty host is that
// of an HTTP/1.0 caller. A dot at the end, or an empty label, is refused: to matchers
// "bank.example." is another host than "bank.example", and to upstreams the same.
func hostProblem(host string) string {
	const bad = "The host has a character that no host has"
	rest := host
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		if end < 0 {
			return bad
		}
		for _, c := range []byte(host[1:end]) {
			if !isHex(c) && c != ':' && c != '.' {
				return bad
			}
		}
		rest = host[end+1:]
		if rest != "" && rest[0] != ':' {
			return bad
		}
	}
	name, port, hasPort := strings.Cut(rest, ":")
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
		return "The host has an empty part"
	}
	if hasPort && name == "" && host == rest {
		return "The host is missing"
	}
	for _, c := range []byte(name) {
		if !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return bad
		}
	}
	if !hasPort {
		return ""
	}
	if len(port) > 5 {
		return bad
	}
	for _, c := range []byte(port) {
		if c < '0' || c > '9' {
			return bad
		}
	}
	return ""
}

// rawTargetProblem judges the request-target as it came (RFC 9112 section 3.2).
// It is empty for requests that did not come from a connection.
func rawTargetProblem(target, host string) string {
	if target == "" {
		return ""
	}
	if target[0] == '/' {
		return originFormProblem(target)
	}
	lower := strings.ToLower(target)
	rest, found := "", false
	for _, scheme := range []string{"http://", "https://"} {
		if strings.HasPrefix(lower, scheme) {
			rest, found = target[len(scheme):], true
		}
	}
	if !found {
		return "The request target must be a path"
	}
	authority := rest
	path := ""
	cut := strings.IndexAny(rest, "/?#")
	if cut >= 0 {
		authority, path = rest[:cut], rest[cut:]
	}
	if !strings.EqualFold(authority, host) {
		return "The request target names another host than the request"
	}
	query, empty := strings.CutPrefix(path, "?")
	if path == "" || empty {
		return queryProblem(query)
	}
	return originFormProblem(path)
}

// originFormProblem judges a path with an optional query.
func originFormProblem(target string) string {
	path, query, _ := strings.Cut(target, "?")
	reason := pathProblem(path)
	if reason != "" {
		return reason
	}
	return queryProblem(query)
}

// urlProblem judges the parsed URL: what a proxy will make the target from.
func urlProblem(u *url.URL, host string) string {
	switch {
	case u == nil:
		return "The request target is missing"
	case u.Opaque != "":
		return "The request target must be a path"
	case u.User != nil:
		return "The request target has user information"
	case u.Fragment != "" || u.RawFragment != "":
		return "The request target has a fragment"
	case u.Host != "" && !strings.EqualFold(u.Host, host):
		return "The request target names another host than the request"
	case u.Path == "" && u.Host != "":
		return queryProblem(u.RawQuery)
	}
	reason := pathProblem(u.EscapedPath())
	if reason != "" {
		return reason
	}
	return queryProblem(u.RawQuery)
}

// Characters beside letters and digits that may stand in a path and in a query.
const (
	pathPunctuation  = "-._~!$&'()*+,=:@"
	queryPunctuation = pathPunctuation + "/?[]{}|^`"
)

// pathProblem judges an absolute path in its escaped form.
func pathProblem(path string) string {
	if path == "" || path[0] != '/' {
		return "The path must begin with a slash"
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		if segment == "" && i < len(segments)-1 {
			return "The path has an empty segment"
		}
		reason := segmentProblem(segment)
		if reason != "" {
			return reason
		}
	}
	return ""
}

// segmentProblem judges one escaped path segment.
func segmentProblem(segment string) string {
	decoded := make([]byte, 0, len(segment))
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if c != '%' {
			if !isAlphanumeric(c) && strings.IndexByte(pathPunctuation, c) < 0 {
				return rawByteProblem(c)
			}
			decoded = append(decoded, c)
			continue
		}
		octet, ok := unescape(segment, i)
		if !ok {
			return "The path has an escape that is none"
		}
		reason := escapedOctetProblem(octet)
		if reason != "" {
			return reason
		}
		if octet == '%' {
			_, again := unescape("%"+segment[i+3:], 0)
			if again || strings.HasPrefix(strings.ToLower(segment[i+3:]), "u") {
				return "The path is escaped twice"
			}
		}
		decoded = append(decoded, octet)
		i += 2
	}
	text := string(decoded)
	if strings.HasPrefix(text, "(") {
		// ASP.NET drops segments such as "(S(x))" from the path, so that the rest
		// is another path there. RFC 3986 allows them.
		return "The path has a segment that begins with a parenthesis"
	}
	if strings.HasSuffix(text, ".") {
		return "The path has a dot segment or a segment that ends with a dot"
	}
	if strings.HasPrefix(text, " ") || strings.HasSuffix(text, " ") {
		return "The path has a segment that begins or ends with a space"
	}
	return foldingProblem(text)
}

// rawByteProblem explains a byte that may not stand in a path as it is.
func rawByteProblem(c byte) string {
	switch {
	case c == '\\':
		return "The path has a backslash"
	case c == ';':
		return "The path has a semicolon"
	case c == '#':
		return "The request target has a fragment"
	case c < 0x20 || c == 0x7f:
		return "The path has a control character"
	case c >= utf8.RuneSelf:
		return "The path has a character that is not ASCII"
	default:
		return "The path has a character that must be escaped"
	}
}

// escapedOctetProblem judges an octet that the path has in its escaped form.
func escapedOctetProblem(c byte) string {
	switch {
	case c == '/':
		return "The path has an escaped slash"
	case c == '\\':
		return "The path has an escaped backslash"
	case c == ';' || c == '?' || c == '#':
		return "The path has an escaped delimiter"
	case c == 0:
		return "The path has an escaped NUL"
	case c < 0x20 || c == 0x7f:
		return "The path has an escaped control character"
	case isAlphanumeric(c) || strings.IndexByte("-._~", c) >= 0:
		// RFC 3986 section 2.3: such an escape is another spelling of the
		// character itself.
		return "The path escapes a character that needs no escape"
	default:
		return ""
	}
}

// queryProblem judges the raw query. Escapes are left to those who read it, but
// for NUL, as any encoding of form data may stand there.
func queryProblem(query string) string {
	for i := 0; i < len(query); i++ {
		c := query[i]
		if c != '%' {
			if !isAlphanumeric(c) && strings.IndexByte(queryPunctuation, c) < 0 {
				return "The query has a character that must be escaped"
			}
			continue
		}
		octet, ok := unescape(query, i)
		if !ok {
			return "The query has an escape that is none"
		}
		if octet == 0 {
			return "The query has an escaped NUL"
		}
		i += 2
	}
	return ""
}

// unescape reads the escape that begins at text[i], which is a percent sign.
func unescape(text string, i int) (byte, bool) {
	if i+2 >= len(text) || !isHex(text[i+1]) || !isHex(text[i+2]) {
		return 0, false
	}
	return hexValue(text[i+1])<<4 | hexValue(text[i+2]), true
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	default:
		return c - 'A' + 10
	}
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
