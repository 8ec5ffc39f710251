package provider_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// CIBA checklist R1, R2, R3, R4
func TestStartAnswers(t *testing.T) {
	w := newWorld(t, nil)
	a := w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice")
	a.want(t, http.StatusOK, "")
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers: %v", a.header)
	}
	raw, err := base64.RawURLEncoding.DecodeString(a.str("auth_req_id"))
	if err != nil || len(raw) != 32 || !regexp.MustCompile(`^[A-Za-z0-9._-]+$`).MatchString(a.str("auth_req_id")) {
		t.Errorf("auth_req_id %q", a.str("auth_req_id"))
	}
	if a.body["expires_in"] != 300.0 || a.body["interval"] != 5.0 || len(a.body) != 3 {
		t.Errorf("body: %s", a.raw)
	}
}

// CIBA checklist A12
func TestRequestedExpiry(t *testing.T) {
	for value, want := range map[string]float64{"10": 10, "300": 300, "601": 600, "1000000000": 600, "": 300} {
		w := newWorld(t, nil)
		a := w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice", "requested_expiry", value)
		a.want(t, http.StatusOK, "")
		if a.body["expires_in"] != want {
			t.Errorf("requested_expiry %q: expires_in %v, want %v", value, a.body["expires_in"], want)
		}
		w.clock.advance(time.Duration(want)*time.Second - time.Millisecond)
		w.poll("gateway", a.str("auth_req_id")).want(t, 400, "authorization_pending")
		w.clock.advance(time.Millisecond)
		w.poll("gateway", a.str("auth_req_id")).want(t, 400, "expired_token")
	}
}

// CIBA checklist T1, T3, T5, T7, T9
func TestApprovedFlow(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start("binding_message", "Pay 100,00 € to Müller & Co. (ref +49-7)")
	if id == authReqID {
		t.Fatal("public id is the auth_req_id")
	}
	w.poll("gateway", authReqID).want(t, 400, "authorization_pending")

	request, err := w.Request(context.Background(), "sub-alice", id)
	if err != nil {
		t.Fatal(err)
	}
	if request.Client.Name != "Example Bank" || request.BindingMessage != "Pay 100,00 € to Müller & Co. (ref +49-7)" ||
		request.State != provider.StatePending || len(request.Scopes) != 3 || request.Scopes[2].DisplayName != "Wire transfers" ||
		!request.ExpiresAt.Equal(w.clock.Now().Add(5*time.Minute)) {
		t.Errorf("request: %+v", request)
	}
	w.clock.advance(time.Second)
	w.mustApprove(id)
	// A decided request answers at once, also if the poll comes early (T5).
	a := w.poll("gateway", authReqID)
	a.want(t, http.StatusOK, "")
	if a.str("token_type") != "Bearer" || a.body["expires_in"] != 300.0 || a.str("id_token") == "" || a.str("access_token") == "" ||
		a.str("scope") != "openid profile my_wire_transfer_scope" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("token response: %s", a.raw)
	}
	for range 3 {
		w.poll("gateway", authReqID).want(t, 400, "invalid_grant")
	}
	request, err = w.Request(context.Background(), "sub-alice", id)
	if err != nil || request.State != provider.StateRedeemed || request.DecidedAt.IsZero() {
		t.Errorf("after redemption: %+v, %v", request, err)
	}
}

// CIBA checklist T6: denied is said as often as asked for.
func TestDeniedFlow(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	err := w.Deny(context.Background(), "sub-alice", id)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.poll("gateway", authReqID).want(t, 400, "access_denied")
	}
	w.clock.advance(6 * time.Minute)
	w.poll("gateway", authReqID).want(t, 400, "access_denied")
	w.clock.advance(10 * time.Minute)
	w.poll("gateway", authReqID).want(t, 400, "invalid_grant")
}

// CIBA checklist T6: an expired request leaves a tombstone.
func TestExpiredFlow(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start("requested_expiry", "10")
	w.clock.advance(10 * time.Second)
	for range 3 {
		w.poll("gateway", authReqID).want(t, 400, "expired_token")
	}
	pending, err := w.Pending(context.Background(), "sub-alice")
	if err != nil || len(pending) != 0 {
		t.Errorf("pending after expiry: %v, %v", pending, err)
	}
	// A node with a slower clock can't revive it.
	w.clock.advance(-5 * time.Second)
	err = w.approve(id)
	wantErr(t, err, provider.ErrExpired)
	w.poll("gateway", authReqID).want(t, 400, "expired_token")
}

// An approval that nobody has collected in time expires with its request.
func TestApprovedExpires(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	w.clock.advance(299 * time.Second)
	w.mustApprove(id)
	w.clock.advance(time.Second)
	w.poll("gateway", authReqID).want(t, 400, "expired_token")
	w.clock.advance(-10 * time.Second)
	w.poll("gateway", authReqID).want(t, 400, "expired_token")
}

// CIBA checklist T1; REG luikyv/go-oidc: the poll of another client leaves the
// owner's grant untouched.
func TestForeignPoll(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	unknown := w.poll("other", base64.RawURLEncoding.EncodeToString(make([]byte, 32)))
	for range 3 {
		foreign := w.poll("other", authReqID)
		foreign.want(t, 400, "invalid_grant")
		if foreign.raw != unknown.raw {
			t.Errorf("foreign %s, unknown %s", foreign.raw, unknown.raw)
		}
	}
	w.poll("gateway", authReqID).want(t, 400, "authorization_pending")
	w.mustApprove(id)
	w.poll("other", authReqID).want(t, 400, "invalid_grant")
	w.poll("gateway", authReqID).want(t, 200, "")
}

// CIBA checklist T3, T4, T5
func TestSlowDown(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	step := func(wait time.Duration, code, retryAfter string) {
		t.Helper()
		w.clock.advance(wait)
		a := w.poll("gateway", authReqID)
		a.want(t, 400, code)
		if a.header.Get("Retry-After") != retryAfter {
			t.Errorf("Retry-After %q, want %q", a.header.Get("Retry-After"), retryAfter)
		}
	}
	step(0, "authorization_pending", "") // the first poll is free
	step(5*time.Second, "authorization_pending", "")
	step(4*time.Second, "slow_down", "10")
	step(9*time.Second, "slow_down", "15")
	w.restart() // the interval is not forgotten
	step(15*time.Second, "authorization_pending", "")
	step(15*time.Second, "authorization_pending", "")
	for range 20 {
		w.clock.advance(100 * time.Millisecond)
		w.poll("gateway", authReqID).want(t, 400, "slow_down")
	}
	step(time.Minute, "authorization_pending", "") // the growth has an end
	w.mustApprove(id)
	w.poll("gateway", authReqID).want(t, 200, "")
}

// CIBA checklist T11; threats T11, T12, REG-9798, REG-16103: the state of user and
// client is looked at when a request starts, is decided and is redeemed.
func TestStateOfUserAndClient(t *testing.T) {
	ctx := context.Background()
	t.Run("user at start", func(t *testing.T) {
		w := newWorld(t, nil)
		w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "carol").want(t, 400, "unknown_user_id")
	})
	t.Run("user at approval", func(t *testing.T) {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		w.users.disable("sub-alice")
		wantErr(t, w.approve(id), provider.ErrUserNotFound)
		w.poll("gateway", authReqID).want(t, 400, "authorization_pending")
		err := w.Deny(ctx, "sub-alice", id)
		if err != nil {
			t.Errorf("a disabled user can't deny: %v", err)
		}
	})
	t.Run("user at redemption", func(t *testing.T) {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		w.mustApprove(id)
		w.users.disable("sub-alice")
		w.poll("gateway", authReqID).want(t, 400, "invalid_grant")
	})
	t.Run("client at approval and redemption", func(t *testing.T) {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		w.cfg.Clients[0].Disabled = true
		w.restart()
		wantErr(t, w.approve(id), provider.ErrClientDisabled)
		w.poll("gateway", authReqID).want(t, 401, "invalid_client")
		w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice").want(t, 401, "invalid_client")
	})
}

func TestScopesCanBeNarrowed(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	a := w.approval(id)
	a.Scopes = []string{"openid"}
	err := w.Approve(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	w.poll("gateway", authReqID, "scope", "openid profile").want(t, 400, "invalid_scope") // threats T16
	tokens := w.poll("gateway", authReqID)
	tokens.want(t, 200, "")
	if tokens.str("scope") != "openid" {
		t.Errorf("scope %q", tokens.str("scope"))
	}
	claims := decodeClaims(t, tokens.str("access_token"))
	if claims["scope"] != "openid" || claims["aud"] != issuer || claims["customer_id"] != nil {
		t.Errorf("access token: %v", claims)
	}
}

func TestNotify(t *testing.T) {
	told := make(chan *provider.Request, 1)
	w := newWorld(t, func(c *provider.Config) {
		c.Notify = func(ctx context.Context, r *provider.Request) {
			told <- r
			<-ctx.Done() // a slow notifier holds up nothing but Close
		}
	})
	_, id := w.start("binding_message", "hello")
	r := <-told
	if r.ID != id || r.Subject != "sub-alice" || r.BindingMessage != "hello" {
		t.Errorf("notified of %+v", r)
	}
}

func TestPendingAndWatch(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, nil)
	changes, stop := w.WatchSubject("sub-alice")
	defer stop()
	_, first := w.start()
	<-changes
	w.clock.advance(time.Second)
	_, second := w.start()
	<-changes
	pending, err := w.Pending(ctx, "sub-alice")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range pending {
		ids = append(ids, r.ID)
	}
	if !slices.Equal(ids, []string{first, second}) {
		t.Errorf("pending %v, want %v", ids, []string{first, second})
	}
	others, err := w.Pending(ctx, "sub-bob")
	if err != nil || len(others) != 0 {
		t.Errorf("pending of another: %v, %v", others, err)
	}
	err = w.Deny(ctx, "sub-alice", first)
	if err != nil {
		t.Fatal(err)
	}
	<-changes
	pending, err = w.Pending(ctx, "sub-alice")
	if err != nil || len(pending) != 1 || pending[0].ID != second {
		t.Errorf("pending after a decision: %v, %v", pending, err)
	}
}
