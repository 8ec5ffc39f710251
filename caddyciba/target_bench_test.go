package caddyciba

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// BenchmarkUnprotected measures what the gateway adds to requests that no gate
// matches: the strict check in front of the whole site.
func BenchmarkUnprotected(b *testing.B) {
	s := &StrictTarget{cleaner: stepup.NewCleaner("X-Approved-By")}
	r := httptest.NewRequest(http.MethodPost, "/v1/accounts/4711?from=2026-01-01", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 200))
	r.Header.Set("Accept", "*/*")
	r.Header.Set("User-Agent", "bench")
	w := httptest.NewRecorder()
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	b.ReportAllocs()
	for b.Loop() {
		err := s.ServeHTTP(w, r, next)
		if err != nil {
			b.Fatal(err)
		}
	}
}
