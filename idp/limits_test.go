package idp

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Requests are counted by the address that Caddy has found: behind a trusted proxy
// the one that it names, and else that of the connection, whatever a header says
// (threats.md no. 4).
func TestRateByClientIP(t *testing.T) {
	limited := strings.Replace(site, "interval 1s", "interval 1s\n\t\tlimits {\n\t\t\tper_source 2 1m\n\t\t\tpending_per_user 100\n\t\t\tpending_per_user_and_client 100\n\t\t}", 1)
	for name, test := range map[string]struct {
		options string
		want    []int
	}{
		"behind a proxy": {"\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8 ::1/128\n\t}\n", []int{200, 200, 429, 200}},
		"without one":    {"", []int{200, 200, 429, 429}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.loadWith(test.options, limited)
			for i, address := range []string{"192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.8"} {
				form := url.Values{"scope": {"openid"}, "login_hint": {"anna"}}
				r := s.request(http.MethodPost, s.url("/backchannel-authentication"), strings.NewReader(form.Encode()))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set("X-Forwarded-For", address)
				r.SetBasicAuth("gateway", url.QueryEscape(gatewaySecret))
				resp, body := s.do(r)
				if resp.StatusCode != test.want[i] {
					t.Errorf("request %d from %s: %s, want %d: %s", i+1, address, resp.Status, test.want[i], body)
				}
				if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
					t.Errorf("request %d: no Retry-After", i+1)
				}
			}
		})
	}
}
