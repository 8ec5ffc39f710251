package caddyciba

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
)

// What a customer is shown of headers, parameters and cookies is what every
// upstream reads (gateways.md section 5, CVE-2021-32777: only one of several values
// checked, all forwarded).
func TestOneValue(t *testing.T) {
	header := http.Header{
		"X-Once": {"1"}, "X-Twice": {"1", "2"}, "X-Alias": {"1"}, "X_alias": {"2"}, "X.dotted": {"1"},
		"Cookie": {"a=1; b=2; B=3; c=4; c=5"},
	}
	type find func(name string) (string, bool, error)
	headers := func(name string) (string, bool, error) { return oneHeader(header, name) }
	cookies := func(name string) (string, bool, error) { return oneCookie(header, name) }
	query := func(target string) find {
		return func(name string) (string, bool, error) { return oneParameter(target, name) }
	}
	tests := []struct {
		name string
		find find
		key  string
		want string
		err  error
	}{
		{"header", headers, "X-Once", "1", nil},
		{"header in another case", headers, "x-once", "1", nil},
		{"no header", headers, "X-None", "", nil},
		{"header twice", headers, "X-Twice", "", errSeveral},
		{"header in two spellings", headers, "X-Alias", "", errSeveral},
		{"header in another spelling", headers, "X-Dotted", "", errSeveral},
		{"cookie", cookies, "a", "1", nil},
		{"cookie in two cases", cookies, "b", "", errSeveral},
		{"cookie twice", cookies, "c", "", errSeveral},
		{"parameter", query("/p?a=1&b=2"), "a", "1", nil},
		{"no parameter", query("/p"), "a", "", nil},
		{"parameter twice", query("/p?a=1&a=2"), "a", "", errSeveral},
		{"parameter twice, escaped", query("/p?a=1&%61=2"), "a", "", errSeveral},
		{"parameter in two cases", query("/p?a=1&A=2"), "a", "", errSeveral},
		{"parameter in another case", query("/p?A=1"), "a", "", errSeveral},
		{"parameter as an array", query("/p?a=1&a[]=2"), "a", "", errSeveral},
		{"parameter with a blank", query("/p?a=1&+a=2"), "a", "", errSeveral},
		{"semicolon", query("/p?a=1;a=2"), "a", "", errSeveral},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, known, err := tt.find(tt.key)
			if got != tt.want || !errors.Is(err, tt.err) || err == nil && !known {
				t.Errorf("%q is %q, %t, %v; want %q, %v", tt.key, got, known, err, tt.want, tt.err)
			}
		})
	}
}

// The same through Caddy, where the shorthand placeholders of the Caddyfile mean
// these.
func TestOneValueThroughCaddy(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer {header.X-Customer}\n\tmessage \"Pay {query.amount}\"\n}\nreverse_proxy %s", op.URL, b.addr()))
	for _, c := range []struct {
		target string
		header http.Header
		status int
	}{
		{"/pay?amount=10", http.Header{"X-Customer": {"alice"}}, 201},
		{"/pay?amount=10&amount=20", http.Header{"X-Customer": {"alice"}}, 422},
		{"/pay?amount=10&Amount=20", http.Header{"X-Customer": {"alice"}}, 422},
		{"/pay?amount=10", http.Header{"X-Customer": {"alice", "mallory"}}, 403},
		{"/pay", http.Header{"X-Customer": {"alice"}}, 422},
	} {
		got := s.do("POST", c.target, "", c.header)
		if got.err != nil || got.status != c.status {
			t.Errorf("%s %v: %+v", c.target, c.header, got)
		}
	}
	b.wantCount(t, 1)
}
