package provider_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyciba/gateway/idp/provider"
)

func (w *world) testAction(method, query string) *answer {
	w.t.Helper()
	return w.do(httptest.NewRequest(method, issuer+"/test/ciba-action"+query, nil))
}

func TestTestApprovalsAreClosed(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	w := newWorld(t, func(c *provider.Config) {
		c.Logger = zap.New(core)
		c.Profile = provider.ProfileFAPICIBA // no profile opens them
		c.Clients = nil
	})
	err := w.Start(t.Context())
	if err != nil || logs.Len() != 0 {
		t.Errorf("start: %v, %v", err, logs.All())
	}
	if w.Handles(httptest.NewRequest(http.MethodPost, issuer+"/test/ciba-action", nil)) {
		t.Error("the endpoint is open")
	}
	a := w.testAction(http.MethodPost, "?token="+hashOf("x")+"&type=allow")
	if a.status != 404 || a.raw != "" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// The approval hook of the conformance suite.
func TestTestApprovals(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	w := newWorld(t, func(c *provider.Config) {
		c.InsecureTestApprovals = true
		c.ACRValues = []string{"urn:example:loa2", "phr"}
		c.Logger = zap.New(core)
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
	})
	err := w.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if logs.FilterLevelExact(zapcore.ErrorLevel).Len() != 1 {
		t.Error("the start was not loud")
	}
	decide := func(authReqID, action string) *answer {
		return w.testAction(http.MethodPost, "?token="+authReqID+"&type="+action)
	}
	for values, acr := range map[string]string{"": "urn:example:loa2", "phr": "phr"} {
		authReqID, _ := w.start("acr_values", values)
		a := decide(authReqID, "allow")
		a.want(t, 200, "")
		if a.str("state") != "approved" || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v", a.raw, a.header)
		}
		tokens := w.poll("gateway", authReqID)
		tokens.want(t, 200, "")
		claims := decodeClaims(t, tokens.str("id_token"))
		if tokens.str("scope") != "openid profile my_wire_transfer_scope" || claims["acr"] != acr || claims["sub"] != "sub-alice" ||
			claims["auth_time"] != float64(w.clock.Now().Unix()) || claims["amr"] == nil {
			t.Errorf("%s %v", tokens.raw, claims)
		}
		decide(authReqID, "deny").want(t, 409, "invalid_request")
	}
	authReqID, _ := w.start()
	decide(authReqID, "deny").want(t, 200, "")
	decide(authReqID, "allow").want(t, 409, "invalid_request") // the first decision stands
	w.poll("gateway", authReqID).want(t, 400, "access_denied")

	pending, _ := w.start()
	for _, query := range []string{
		"", "?type=allow", "?token=" + pending, "?token=" + pending + "&type=", "?token=" + pending + "&type=approve",
		"?token=" + pending + "&token=" + pending + "&type=allow", "?token=x&type=allow", "?token=" + pending + "&type=allow&type=deny",
	} {
		w.testAction(http.MethodPost, query).want(t, 400, "invalid_request")
	}
	a := w.testAction(http.MethodGet, "?token="+pending+"&type=allow")
	a.want(t, 405, "invalid_request")
	decide(hashOf("unknown"), "allow").want(t, 404, "invalid_request")
	w.poll("gateway", pending).want(t, 400, "authorization_pending")
	w.users.breakDown(errBroken)
	decide(pending, "allow").want(t, 503, "temporarily_unavailable")
	w.users.breakDown(nil)
	w.clock.advance(6 * time.Minute)
	decide(pending, "allow").want(t, 409, "invalid_request")
}
