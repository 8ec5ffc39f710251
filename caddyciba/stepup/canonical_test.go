package stepup

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The quick way of CheckTarget must not take what the checks refuse, whatever the
// URL and the request line say (threats G01, G02).
func agreeOnTarget(t *testing.T, r *http.Request) {
	t.Helper()
	if !isCanonical(r) {
		return
	}
	err := judgeTarget(r)
	if err != nil {
		t.Errorf("method %q, host %q, target %q, URL %#v: taken, but %v", r.Method, r.Host, r.RequestURI, r.URL, err)
	}
}

// requestsFor are the requests that a target can come as: from a connection, from a
// server that knows the URL alone, and after a directive has changed one of both.
func requestsFor(method, host, target, other string) []*http.Request {
	path, query, _ := strings.Cut(target, "?")
	all := []*http.Request{
		{Method: method, Host: host, URL: &url.URL{Path: path, RawQuery: query}},
		{Method: method, Host: host, URL: &url.URL{Path: path, RawQuery: query}, RequestURI: target},
		{Method: method, Host: host, URL: &url.URL{Path: path, RawQuery: query}, RequestURI: other},
	}
	u, err := url.ParseRequestURI(target)
	if err == nil {
		all = append(all,
			&http.Request{Method: method, Host: host, URL: u, RequestURI: target},
			&http.Request{Method: method, Host: host, URL: u, RequestURI: other},
			&http.Request{Method: method, Host: host, URL: u})
	}
	return all
}

func FuzzQuickTarget(f *testing.F) {
	for _, name := range []string{"testdata/target/refused.txt", "testdata/target/accepted.txt"} {
		for _, target := range lines(f, name) {
			f.Add("POST", testHost, target, "/")
			f.Add("GET", testHost, "/", target)
		}
	}
	for _, method := range []string{"get", "Post", "PATCH", "M-SEARCH", "poſt", "FOO", "", "CONNECT"} {
		f.Add(method, testHost, "/v1/transfers?a=%20b", "/v1/transfers?a=%20b")
	}
	for _, host := range []string{"", "a b", "[::1]:80", "a:123456", "ä.example", "a_b.example:8080"} {
		f.Add("POST", host, "/v1/transfers", "/v1/transfers")
	}
	f.Fuzz(func(t *testing.T, method, host, target, other string) {
		for _, r := range requestsFor(method, host, target, other) {
			agreeOnTarget(t, r)
		}
	})
}

// Each pair of bytes, at the beginning, in the middle and at the end of a path, and
// in a query.
func TestCanonicalByBytes(t *testing.T) {
	taken := 0
	for i := range 1 << 16 {
		pair := string([]byte{byte(i >> 8), byte(i)})
		for _, path := range []string{"/" + pair + "a", "/a" + pair + "a", "/a" + pair} {
			r := &http.Request{Method: "POST", Host: testHost, URL: &url.URL{Path: path}}
			agreeOnTarget(t, r)
			if isCanonical(r) {
				taken++
			}
		}
		agreeOnTarget(t, &http.Request{Method: "POST", Host: testHost, URL: &url.URL{Path: "/a", RawQuery: "b=" + pair + "0"}})
	}
	if taken < 10000 {
		t.Errorf("the quick way takes %d paths", taken)
	}
}

// What ordinary callers send must not be slow.
func TestOrdinaryTargetsAreQuick(t *testing.T) {
	for _, target := range []string{"/", "/v1/accounts/4711?from=2026-01-01", "/a/b.json?q=x%20y&z=", "/~u/a_b-c/@me,1:2", "/a?"} {
		r := fromWire(target)
		if !isCanonical(r) {
			t.Errorf("%q is not", target)
		}
	}
}

// agreeOnHygiene cleans two copies of a request, by a Cleaner and without, and
// compares what is refused and what is left.
func agreeOnHygiene(t *testing.T, cleaner *Cleaner, r *http.Request) {
	t.Helper()
	slow := r.Clone(t.Context())
	slow.Trailer, r.Trailer = http.Header{"X-Sum": nil}, http.Header{"X-Sum": nil}
	before := r.Header.Clone()
	want, got := problemOf(Clean(slow, cleaner.names...)), problemOf(cleaner.Clean(r, nil))
	if got != want {
		t.Fatalf("header %q, query %q: problem is %q, want %q", before, r.URL.RawQuery, got, want)
	}
	if want == "" && (!reflect.DeepEqual(r.Header, slow.Header) || r.Trailer != nil) {
		t.Fatalf("header %q: left is %q, want %q", before, r.Header, slow.Header)
	}
}

var cleanedNames = []string{"X-Approved-By", "Authorization", "x_ciba.txn", "-Odd"}

// A header of the fuzzer's has a line for each value, with the name as it is spelled.
func headerOf(text string) http.Header {
	header := http.Header{}
	for line := range strings.SplitSeq(text, "\n") {
		name, value, _ := strings.Cut(line, ":")
		header[name] = append(header[name], value)
	}
	return header
}

func FuzzQuickHygiene(f *testing.F) {
	names := append([]string{"Accept", "Connection", "Te", "Upgrade", "Content-Type", "Idempotency-Key", "Host", "\u212aeep-Alive", "Connect\u0130on"}, cleanedNames...)
	for name := range overrides {
		names = append(names, name)
	}
	for _, name := range names {
		for _, spelling := range spellings(name) {
			f.Add(spelling+":x", "")
			f.Add("Accept:*/*\n"+spelling+":close\n"+spelling+":100-continue", "a=b")
			f.Add(spelling+":"+testHost+"\n"+http.CanonicalHeaderKey(spelling)+":keep-alive", "a=b")
		}
	}
	for _, query := range []string{"_method=x", "a=_method", "a&_METHOD", "%5fmethod=1", "a=%5fmethod", "+method=1", ".method", "a=b&[_method]=1", "_method[]", "a;_method=1", "a=1=_method", "_metho%64"} {
		f.Add("Accept:*/*", query)
	}
	cleaner := NewCleaner(cleanedNames...)
	f.Fuzz(func(t *testing.T, header, query string) {
		agreeOnHygiene(t, cleaner, &http.Request{Method: "POST", Host: testHost, URL: &url.URL{Path: "/p", RawQuery: query}, Header: headerOf(header)})
	})
}

// Many requests put together by chance from what matters to hygiene, the same ones
// each time.
func TestCleanerAgrees(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	names := slices.Concat(slices.Collect(maps.Keys(overrides)), slices.Collect(maps.Keys(hopByHop)), slices.Collect(maps.Keys(singleValued)),
		cleanedNames, []string{"accept", "cookie", "x-request-id", "x-approved", ":protocol"})
	slices.Sort(names)
	values := []string{"close", "keep-alive", "Keep-Alive", "Upgrade", "close, TE", "Cookie", "100-continue", "trailers", testHost, "", "k\x01", "application/json"}
	queries := []string{"", "", "", "a=b", "a=_method", "_method=x", "%5Fmethod", "a=%5F&b", "x&METHOD=1"}
	cleaner := NewCleaner(cleanedNames...)
	refused := 0
	for range 10000 {
		header := http.Header{}
		for range random.IntN(5) {
			name := pick(names)
			switch random.IntN(6) {
			case 0:
				name = strings.ReplaceAll(name, "-", "_")
			case 1:
				name = strings.ToUpper(name)
			default:
				name = http.CanonicalHeaderKey(name)
			}
			header[name] = append(header[name], pick(values))
		}
		r := bare(header)
		r.URL.RawQuery = pick(queries)
		if Clean(r.Clone(t.Context()), cleaner.names...) != nil {
			refused++
		}
		agreeOnHygiene(t, cleaner, r)
	}
	if refused < 1000 || refused > 9000 {
		t.Errorf("%d of 10000 are refused: they prove little", refused)
	}
}

// What a gate in front has set stays, in any case; other spellings of it do as well,
// as they were removed before the gate set its own.
func TestCleanerKeeps(t *testing.T) {
	r := bare(http.Header{"X-Approved-By": {"anna"}, "X-Ciba-Txn": {"1"}})
	err := NewCleaner(cleanedNames...).Clean(r, []string{"x-approved-by"})
	if err != nil || r.Header.Get("X-Approved-By") != "anna" || r.Header.Get("X-Ciba-Txn") != "" {
		t.Errorf("left is %v, error %v", r.Header, err)
	}
}

// BenchmarkCleaner is hygiene for what an ordinary caller sends.
func BenchmarkCleaner(b *testing.B) {
	r := bare(http.Header{"Accept": {"*/*"}, "User-Agent": {"bench"}, "Content-Type": {"application/json"}, "Content-Length": {"2"},
		"Authorization": {string(bytes.Repeat([]byte("x"), 200))}, "Accept-Encoding": {"gzip"}})
	c := NewCleaner("X-Approved-By")
	b.ReportAllocs()
	for b.Loop() {
		err := c.Clean(r, nil)
		if err != nil {
			b.Fatal(err)
		}
	}
}
