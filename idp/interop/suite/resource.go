package suite

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// interactionHeader is the header by which FAPI correlates request and answer.
const interactionHeader = "X-Fapi-Interaction-Id"

var uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// callResource asks for the protected resource with an access token, and a
// client's certificate that need not be the one of the token.
func (r *run) callResource(c *client, token string, header map[string]string) *answer {
	r.Helper()
	request, err := http.NewRequest(http.MethodGet, r.Config.Resource.URL, nil)
	if err != nil {
		r.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	for name, value := range header {
		request.Header.Set(name, value)
	}
	return r.do(c.http, request)
}

// useResource uses an access token as its client does, and checks the answer.
// The first client sends an interaction id, the second does not.
func (r *run) useResource(t *tokens) {
	r.Helper()
	header := map[string]string{"X-Fapi-Auth-Date": r.Now().UTC().Format(http.TimeFormat)}
	id := ""
	if !t.client.second {
		id = "c770aef3-6784-41f7-8e0e-ff5f97bddb3a"
		header[interactionHeader] = id
	}
	a := r.callResource(t.client, t.access, header)
	if a.status != http.StatusOK && a.status != http.StatusCreated {
		r.Fatalf("resource answers %d: %s", a.status, a.body)
	}
	kind := strings.ToLower(strings.ReplaceAll(a.header.Get("Content-Type"), " ", ""))
	if kind != "application/json" && kind != "application/json;charset=utf-8" || !json.Valid(a.body) {
		r.Errorf("resource is %q: %s", kind, a.body)
	}
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil || time.Since(date).Abs() > maxSkew {
		r.Errorf("Date of the resource is %q", a.header.Get("Date"))
	}
	got := a.header.Get(interactionHeader)
	if id != "" && got != id || id == "" && !uuidPattern.MatchString(got) {
		r.Errorf("%s of the resource is %q", interactionHeader, got)
	}
}

// varyResource asks for the resource in the ways that must work, and with the
// token in the query, which must not.
func (r *run) varyResource(t *tokens) {
	r.Helper()
	request, err := http.NewRequest(http.MethodGet, r.Config.Resource.URL+"?"+url.Values{"access_token": {t.access}}.Encode(), nil)
	if err != nil {
		r.Fatal(err)
	}
	a := r.do(t.client.http, request)
	if a.status != http.StatusBadRequest && a.status != http.StatusUnauthorized && a.status != http.StatusRequestURITooLong {
		r.Errorf("token in the query: %d %s", a.status, a.body)
	}
	for _, header := range []map[string]string{
		{"Accept": "application/json;charset=UTF-8", "X-Fapi-Customer-Ip-Address": "2001:db8::1893:25c8:1946"},
		{"Accept": "application/json, application/*+json, */*"},
	} {
		a := r.callResource(t.client, t.access, header)
		if a.status != http.StatusOK {
			r.Errorf("resource with %v: %d %s", header, a.status, a.body)
		}
	}
}

// withoutCertificate polls without a certificate. The provider may refuse the
// connection or the request.
func (r *run) withoutCertificate(s *started) {
	r.Helper()
	form := url.Values{"grant_type": {grantCIBA}, "auth_req_id": {s.authReqID}}
	endpoint := r.tokenEndpoint()
	r.authenticate(s.client, form, endpoint)
	a, err := r.try(s.client.bare, r.postRequest(endpoint, form))
	if err != nil {
		return // refused in the handshake, which is fine
	}
	allowed := append([]problem{invalidRequest}, invalidClient...)
	if !r.mtls() {
		allowed = append(allowed, problem{400, "invalid_grant"})
	}
	a.refused(allowed...)
}
