package provider_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// There is an authorization endpoint, because the conformance suite asks for one,
// and nothing that it could be used for.
func TestAuthorize(t *testing.T) {
	w := newWorld(t, nil)
	endpoint := w.get("/.well-known/openid-configuration").str("authorization_endpoint")
	if endpoint != issuer+"/authorize" {
		t.Fatalf("authorization_endpoint is %q", endpoint)
	}
	query := form("response_type", "code", "client_id", "gateway", "scope", "openid", "redirect_uri", "https://evil.example/").Encode()
	for _, r := range []*http.Request{
		httptest.NewRequest(http.MethodGet, endpoint, nil),
		httptest.NewRequest(http.MethodGet, endpoint+"?"+query, nil),
		postRequest("/authorize", query),
	} {
		a := w.do(r)
		a.want(t, 400, "unsupported_response_type")
		if a.header.Get("Location") != "" {
			t.Errorf("%s leads to %s", r.Method, a.header.Get("Location"))
		}
	}
	w.do(httptest.NewRequest(http.MethodPut, endpoint, nil)).want(t, 405, "invalid_request")
}
