package interop_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caddyciba/gateway/idp/interop/suite"
)

// sabotage makes a good provider a bad one.
type sabotage struct {
	// answer changes an answer to the client.
	answer func(r *http.Request, a *httptest.ResponseRecorder)

	// ciphers allows all cipher suites, old TLS all versions.
	ciphers, oldTLS bool
}

// sabotaged lets the sabotage of the moment change what a handler answers.
func (op *conformanceOP) sabotaged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := op.sabotage.Load()
		if s == nil || s.answer == nil {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		s.answer(r, rec)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.Header().Del("Content-Length")
		w.WriteHeader(rec.Code)
		_, err := w.Write(rec.Body.Bytes())
		if err != nil {
			op.t.Errorf("writing answer: %v", err)
		}
	})
}

// tls is conformanceTLS, or what the sabotage makes of it.
func (op *conformanceOP) tls(certificate tls.Certificate, auth tls.ClientAuthType) *tls.Config {
	good := conformanceTLS(certificate, auth)
	good.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s := op.sabotage.Load()
		if s == nil || !s.ciphers && !s.oldTLS {
			return nil, nil // the one that holds
		}
		bad := conformanceTLS(certificate, auth)
		if s.ciphers {
			bad.CipherSuites = nil
		}
		if s.oldTLS {
			bad.MinVersion = tls.VersionTLS10
			bad.CipherSuites = nil
		}
		return bad, nil
	}
	return good
}

// replace replaces text in answers.
func replace(old, with string) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, a *httptest.ResponseRecorder) {
		text := strings.ReplaceAll(a.Body.String(), old, with)
		a.Body = bytes.NewBufferString(text)
	}
}

// TestConformanceNotices makes sure that the modules are no paper tigers: with a
// provider that does one thing wrong, the modules about it fail.
func TestConformanceNotices(t *testing.T) {
	const (
		main      = "fapi-ciba-id1"
		discovery = "fapi-ciba-id1-discovery-end-point-verification"
		rejects   = "fapi-ciba-id1-user-rejects-authentication"
		expired   = "fapi-ciba-id1-auth-req-id-expired"
		refresh   = "fapi-ciba-id1-refresh-token"
		wrongID   = "fapi-ciba-id1-ensure-wrong-auth-req-id-in-token-endpoint-request"
		noKey     = "fapi-ciba-id1-ensure-mtls-holder-of-key-required"
		message   = "fapi-ciba-id1-ensure-authorization-request-with-potentially-bad-binding-message"
		badAud    = "fapi-ciba-id1-ensure-request-object-bad-aud-fails"
	)
	allRequests := func() []string {
		var names []string
		for _, m := range suite.Modules() {
			if strings.Contains(m.Name, "request-object") || strings.HasSuffix(m.Name, "-hints-fails") || strings.HasSuffix(m.Name, "request-fails") {
				names = append(names, m.Name)
			}
		}
		return names
	}()
	tests := []struct {
		name string
		sabotage
		fails []string
	}{
		{"status of refusals", sabotage{answer: func(_ *http.Request, a *httptest.ResponseRecorder) {
			if a.Code == http.StatusBadRequest {
				a.Code = http.StatusUnprocessableEntity
			}
		}}, append([]string{main, rejects, expired, refresh, wrongID, noKey, message}, allRequests...)},
		{"code of refused requests", sabotage{answer: replace(`"invalid_request"`, `"invalid_request_object"`)}, allRequests},
		{"member of errors", sabotage{answer: replace(`{"error":`, `{"trace":"x","error":`)}, append([]string{main, rejects, message}, allRequests...)},
		{"text of errors", sabotage{answer: replace(`"error_description":"`, `"error_description":"\u00e4`)}, append([]string{main, message}, allRequests...)},
		{"denial", sabotage{answer: replace("access_denied", "authorization_pending")}, []string{rejects}},
		{"expiry", sabotage{answer: replace("expired_token", "invalid_grant")}, []string{expired}},
		{"grants of others", sabotage{answer: replace("invalid_grant", "authorization_pending")}, []string{main, wrongID, refresh}},
		{"binding message", sabotage{answer: replace("invalid_binding_message", "invalid_request")}, []string{message}},
		{"delivery modes", sabotage{answer: replace(`"poll"`, `"pull"`)}, []string{discovery}},
		{"unknown metadata", sabotage{answer: replace(`"issuer":`, `"issuer_name":"x","issuer":`)}, []string{discovery}},
		{"caching", sabotage{answer: func(_ *http.Request, a *httptest.ResponseRecorder) { a.Header().Del("Cache-Control") }}, []string{main, refresh}},
		{"weak auth_req_id", sabotage{answer: func(r *http.Request, a *httptest.ResponseRecorder) {
			if strings.Contains(a.Body.String(), `"auth_req_id"`) {
				a.Body = bytes.NewBufferString(`{"auth_req_id":"1234567890123456","expires_in":300,"interval":5}`)
			}
		}}, []string{main, wrongID}},
		{"no ID Token", sabotage{answer: replace(`"id_token"`, `"token_id"`)}, []string{main, refresh}},
		{"public resource", sabotage{answer: func(r *http.Request, a *httptest.ResponseRecorder) {
			if r.URL.Path == "/accounts" {
				a.Code = http.StatusOK
			}
		}}, []string{main}},
		{"resource without interaction id", sabotage{answer: func(_ *http.Request, a *httptest.ResponseRecorder) {
			a.Header().Del("X-Fapi-Interaction-Id")
		}}, []string{main, refresh}},
		{"cipher suites", sabotage{ciphers: true}, []string{main, noKey}},
		{"TLS 1.0", sabotage{oldTLS: true}, []string{main, noKey}},
	}
	op := newConformanceOP(t)
	v := suite.Variant{Auth: suite.AuthPrivateKeyJWT, Mode: suite.ModePoll}
	s := op.suite(v)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			op.sabotage.Store(&tt.sabotage)
			defer op.sabotage.Store(nil)
			for _, m := range suite.Modules() {
				for _, name := range tt.fails {
					if m.Name == name && !fails(t, s, m) {
						t.Errorf("%s does not notice", name)
					}
				}
			}
		})
	}
}

// TestConformanceNoticesPings is the same for notifications: one too many, one to
// a client that polls, and none at all.
func TestConformanceNoticesPings(t *testing.T) {
	op := newConformanceOP(t)
	again := func(alias string) func(*http.Request, *httptest.ResponseRecorder) {
		return func(r *http.Request, _ *httptest.ResponseRecorder) {
			if r.URL.Path == "/test/ciba-action" {
				body := strings.NewReader(`{"auth_req_id":"` + r.URL.Query().Get("token") + `"}`)
				op.receiver.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, suite.NotificationPath(alias), body))
			}
		}
	}
	for _, mode := range []string{suite.ModePoll, suite.ModePing} {
		v := suite.Variant{Auth: suite.AuthPrivateKeyJWT, Mode: mode}
		s := op.suite(v)
		op.sabotage.Store(&sabotage{answer: again(op.configs[v].Alias)})
		for _, m := range suite.Modules() {
			needsApproval := strings.HasSuffix(m.Name, "-succeeds") || strings.Contains(m.Name, "-ping-")
			needsApproval = needsApproval && !strings.Contains(m.Name, "client-assertion")
			if m.Applies(v) && needsApproval && !fails(t, s, m) {
				t.Errorf("%s, %s: does not notice a notification that must not be", v, m.Name)
			}
		}
	}
}

// fails runs a module and reports whether it fails.
func fails(t *testing.T, s *suite.Suite, m suite.Module) bool {
	t.Helper()
	w := &witness{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(w, m)
	}()
	<-done
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.lines {
		t.Logf("%s: %s", m.Name, line)
	}
	return len(w.lines) > 0
}

// witness takes note of failures instead of failing.
type witness struct {
	testing.TB
	mu    sync.Mutex
	lines []string
}

func (w *witness) note(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line)
}

func (w *witness) Error(args ...any)                 { w.note(fmt.Sprint(args...)) }
func (w *witness) Errorf(format string, args ...any) { w.note(fmt.Sprintf(format, args...)) }

func (w *witness) Fatal(args ...any) {
	w.Error(args...)
	runtime.Goexit()
}

func (w *witness) Fatalf(format string, args ...any) {
	w.Errorf(format, args...)
	runtime.Goexit()
}
