package stepup

import (
	"bufio"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// lines reads a data file: one case a line, "#" for comments, Go escapes.
func lines(t testing.TB, name string) []string {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var list []string
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		line := scanner.Text()
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		// Everything but escapes stays as it is written.
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		list = append(list, text)
	}
	if scanner.Err() != nil {
		t.Fatal(scanner.Err())
	}
	return list
}

const testHost = "api.example.com"

// fromWire returns the request that net/http's server would make of a request
// line with this target, or nil if the server itself would refuse it.
func fromWire(target string) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	return &http.Request{Method: "POST", URL: u, Host: testHost, RequestURI: target, Header: http.Header{}}
}

func problemOf(err error) Problem {
	var f *Refusal
	if errors.As(err, &f) {
		return f.Problem
	}
	return ""
}

// Threats G01, G02: each spelling is refused, both as the raw target and, where
// the server's parser lets it through, as the URL that will be sent on.
func TestTargetRefused(t *testing.T) {
	for _, target := range lines(t, "testdata/target/refused.txt") {
		t.Run(target, func(t *testing.T) {
			raw := &http.Request{Method: "POST", URL: &url.URL{Path: "/"}, Host: testHost, RequestURI: target}
			if problemOf(CheckTarget(raw)) != ProblemTarget {
				t.Errorf("raw target passes")
			}
			r := fromWire(target)
			if r == nil {
				return
			}
			if problemOf(CheckTarget(r)) != ProblemTarget {
				t.Errorf("request passes")
			}
		})
	}
}

// What a rewrite, or an HTTP/2 or HTTP/3 server, has put into the URL is judged
// as well, whatever the request line said.
func TestTargetRefusedByURL(t *testing.T) {
	for _, target := range lines(t, "testdata/target/refused.txt") {
		if !strings.HasPrefix(target, "/") {
			continue
		}
		r := fromWire(target)
		if r == nil {
			continue
		}
		r.RequestURI = "/"
		if r.URL.Host != "" {
			continue // "//host/path" is a path to the raw check alone
		}
		err := CheckTarget(r)
		// A raw byte that the URL escapes when it is written is sent escaped.
		forwarded := r.URL.RequestURI()
		if err == nil && !acceptable(t, forwarded) {
			t.Errorf("%q passes and would be sent as %q", target, forwarded)
		}
	}
}

func acceptable(t *testing.T, target string) bool {
	t.Helper()
	r := fromWire(target)
	return r != nil && CheckTarget(r) == nil
}

func TestTargetAccepted(t *testing.T) {
	for _, target := range lines(t, "testdata/target/accepted.txt") {
		t.Run(target, func(t *testing.T) {
			r := fromWire(target)
			if r == nil {
				t.Fatal("the server's parser refuses it")
			}
			err := CheckTarget(r)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTargetOfOtherForms(t *testing.T) {
	cases := map[string]*http.Request{
		"opaque":        {Method: "GET", URL: &url.URL{Scheme: "http", Opaque: "//evil.example/p"}, Host: testHost},
		"user":          {Method: "GET", URL: &url.URL{Path: "/p", User: url.User("x")}, Host: testHost},
		"fragment":      {Method: "GET", URL: &url.URL{Path: "/p", Fragment: "x"}, Host: testHost},
		"other host":    {Method: "GET", URL: &url.URL{Scheme: "http", Host: "evil.example", Path: "/p"}, Host: testHost},
		"no URL":        {Method: "GET", Host: testHost},
		"relative path": {Method: "GET", URL: &url.URL{Path: "p"}, Host: testHost},
		"CONNECT":       {Method: "CONNECT", URL: &url.URL{Host: "db.internal:5432"}, Host: "db.internal:5432", RequestURI: "db.internal:5432"},
		"raw path":      {Method: "GET", URL: &url.URL{Path: "/a/b", RawPath: "/a%2fb"}, Host: testHost},
		"decoded dots":  {Method: "GET", URL: &url.URL{Path: "/a/../b"}, Host: testHost},
		"decoded slash": {Method: "GET", URL: &url.URL{Path: `/a\b`}, Host: testHost},
		"decoded NUL":   {Method: "GET", URL: &url.URL{Path: "/a\x00"}, Host: testHost},
		"bad raw query": {Method: "GET", URL: &url.URL{Path: "/a", RawQuery: "x=%zz"}, Host: testHost},
	}
	for name, r := range cases {
		t.Run(name, func(t *testing.T) {
			if problemOf(CheckTarget(r)) != ProblemTarget {
				t.Error("passes")
			}
		})
	}
}

func TestHost(t *testing.T) {
	for host, good := range map[string]bool{
		"": true, "a": true, "api.example.com": true, "api.example.com:8443": true, "API.Example.COM": true,
		"127.0.0.1:80": true, "[::1]": true, "[::1]:80": true, "[2001:db8::1]:443": true, "a_b.example": true,
		"a.example.": false, ".a": false, "a..b": false, ".": false, ":80": false,
		"a b": false, "a/b": false, `a\b`: false, "a@b": false, "a#b": false, "a?b": false, "a%41": false,
		"a:b": false, "a:80:80": false, "[::1": false, "[::1]x": false, "[g::1]": false, "é.example": false,
		"a\x00": false, "a:123456": false, "a,b": false, "[::1]:x": false, "a;b": false, "a:80 ": false,
	} {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: "/"}, Host: host, RequestURI: "/"}
		err := CheckTarget(r)
		if (err == nil) != good {
			t.Errorf("%q: %v", host, err)
		}
	}
}

// A matcher for POST does not see "post"; many back ends do.
func TestMethodInAnotherCase(t *testing.T) {
	for method := range knownMethods {
		for spelling, good := range map[string]bool{
			method:                                   true,
			strings.ToLower(method):                  false,
			method[:1] + strings.ToLower(method[1:]): false,
			strings.ToLower(method[:1]) + method[1:]: false,
		} {
			r := &http.Request{Method: spelling, URL: &url.URL{Path: "/"}, Host: testHost, RequestURI: "/"}
			want := ProblemMethod
			if good {
				want = ""
			}
			if got := problemOf(CheckTarget(r)); got != want {
				t.Errorf("%q: problem is %q, want %q", spelling, got, want)
			}
		}
	}
	r := &http.Request{Method: "frobnicate", URL: &url.URL{Path: "/"}, Host: testHost}
	if err := CheckTarget(r); err != nil {
		t.Errorf("a method that nobody knows: %v", err)
	}
}

// backEnds are six ways in which software behind a proxy folds paths (T6).
var backEnds = map[string]func(string) string{
	"clean":     func(p string) string { return path.Clean("/" + unescapeAll(p)) },
	"twice":     func(p string) string { return path.Clean("/" + unescapeAll(unescapeAll(p))) },
	"backslash": func(p string) string { return path.Clean("/" + strings.ReplaceAll(unescapeAll(p), `\`, "/")) },
	"semicolon": func(p string) string {
		parts := strings.Split(unescapeAll(p), "/")
		for i, part := range parts {
			parts[i], _, _ = strings.Cut(part, ";")
		}
		return path.Clean("/" + strings.Join(parts, "/"))
	},
	"case": func(p string) string { return path.Clean("/" + cases.Fold().String(unescapeAll(p))) },
	"compatibility": func(p string) string {
		return path.Clean("/" + strings.ToLower(norm.NFKC.String(unescapeAll(p))))
	},
	"C string": func(p string) string {
		text, _, _ := strings.Cut(unescapeAll(p), "\x00")
		return path.Clean("/" + text)
	},
	"windows": func(p string) string {
		parts := strings.Split(strings.ReplaceAll(unescapeAll(p), `\`, "/"), "/")
		for i, part := range parts {
			parts[i] = strings.TrimRight(part, ". ")
		}
		return path.Clean("/" + strings.ToLower(strings.Join(parts, "/")))
	},
}

func unescapeAll(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '%' {
			octet, ok := unescape(p, i)
			if ok {
				b.WriteByte(octet)
				i += 2
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

const guardedPath = "/p/transfers"

// caddySees is what Caddy's path matcher compares: decoded, cleaned, in lower
// case, without dots and spaces at its end.
func caddySees(u *url.URL) string {
	clean := path.Clean("/" + u.Path)
	return strings.ToLower(strings.TrimRight(clean, ". "))
}

// checkGuarded fails if a target passes the check, misses a matcher for the
// guarded path, and is the guarded path to some back end.
func checkGuarded(t *testing.T, target string) {
	t.Helper()
	r := fromWire(target)
	if r == nil || CheckTarget(r) != nil || caddySees(r.URL) == guardedPath {
		return
	}
	sent, _, _ := strings.Cut(r.URL.RequestURI(), "?")
	for name, fold := range backEnds {
		if fold(sent) == guardedPath {
			t.Errorf("%q passes, is not matched, and is %s to back end %q", target, guardedPath, name)
		}
	}
}

// Threat T6: no spelling of the guarded path slips past the matcher.
func TestNoSpellingSlipsPast(t *testing.T) {
	pieces := []string{
		"/", "//", "/./", "/x/../", "%2f", "%2F", "%5c", `\`, "/%2e/", "/.%2e/x/", ";/", "/;x/", "%00/", "/%20", "%20/", "./",
		"%252f", "%25%32%66", "%u002f", "%c0%af", "%EF%BC%8F", "%E2%88%95", "%E2%81%84", "/%E2%80%8B",
	}
	tails := []string{
		"", "/", ".", "..", "%2e", "%20", "%00", "%00.json", ";", ";a=b", "%3b", "%3Ba", "/.", "/..", "/x/..", "/%2e", "#", "%23",
		"?", "%3f", "%09", "%0a", "%E2%80%8B", "%C2%A0", "%5c", `\`, "//", "%2f",
	}
	names := []string{
		"transfers", "TRANSFERS", "Transfers", "%74ransfers", "%2574ransfers", "transfer%C5%BF", "tran%C5%BFfers", "transfer%73",
		"%EF%BD%94ransfers", "trans%EF%AC%80ers", "trans%C2%ADfers", "%E1%B5%97ransfers",
	}
	for _, first := range pieces {
		for _, second := range pieces {
			for _, name := range names {
				for _, tail := range tails {
					checkGuarded(t, first+"p"+second+name+tail)
				}
			}
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, name := range []string{"refused", "accepted"} {
		for _, target := range lines(f, "testdata/target/"+name+".txt") {
			f.Add(target)
		}
	}
	f.Fuzz(func(t *testing.T, target string) {
		checkGuarded(t, target)
		r := fromWire(target)
		if r == nil || CheckTarget(r) != nil {
			return
		}
		again := fromWire(r.URL.RequestURI())
		if again == nil || CheckTarget(again) != nil {
			t.Errorf("%q passes and would be sent as %q, which does not", target, r.URL.RequestURI())
		}
	})
}

// The check is the first of all: nothing else of the request is looked at.
func TestTargetComesFirst(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	r := httptest.NewRequest("POST", "http://"+testHost+"/p", strings.NewReader("body"))
	r.RequestURI = "/x/../p"
	r.Header.Set("X-Http-Method-Override", "DELETE")
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if b.lastRefusal().Problem != ProblemTarget || upstream.count() != 0 || b.client.asked() != 0 {
		t.Errorf("problem is %s", b.lastRefusal().Problem)
	}
}

// Threat T08: ASP.NET takes "(S(x))" out of the path before it routes.
func TestSegmentThatIsDropped(t *testing.T) {
	for target, ok := range map[string]bool{"/(S(x))/transfers": false, "/a/(x)": false, "/%28S(x))/transfers": false, "/a(1)": true, "/Users('a')": true} {
		err := CheckTarget(httptest.NewRequest("GET", target, nil))
		if (err == nil) != ok {
			t.Errorf("%s: %v", target, err)
		}
	}
}
