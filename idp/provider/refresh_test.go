package provider_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// refreshWorld lets both clients refresh.
func refreshWorld(t *testing.T) *world {
	t.Helper()
	return newWorld(t, func(c *provider.Config) {
		for i := range c.Clients[:2] {
			c.Clients[i].GrantTypes = []string{provider.GrantCIBA, provider.GrantRefresh}
		}
		c.Clients = append(c.Clients, provider.Client{
			ID: "bank", Resource: "https://bank.example.com", SecretHashes: []provider.SecretHash{provider.HashSecret(secret1)},
		})
	})
}

// redeemed returns the tokens of an approved request.
func (w *world) redeemed(params ...string) (tokens *answer, authReqID string) {
	w.t.Helper()
	authReqID, id := w.start(params...)
	w.mustApprove(id)
	tokens = w.poll("gateway", authReqID)
	tokens.want(w.t, 200, "")
	return tokens, authReqID
}

func (w *world) refresh(client, token string, params ...string) *answer {
	w.t.Helper()
	return w.post(client, "/token", append([]string{"grant_type", "refresh_token", "refresh_token", token}, params...)...)
}

// CIBA checklist T9
func TestRefresh(t *testing.T) {
	w := refreshWorld(t)
	first, _ := w.redeemed()
	if len(first.str("refresh_token")) < 80 {
		t.Fatalf("refresh token %q", first.str("refresh_token"))
	}
	w.clock.advance(time.Hour)
	second := w.refresh("gateway", first.str("refresh_token"))
	second.want(t, 200, "")
	before, after := decodeClaims(t, first.str("id_token")), decodeClaims(t, second.str("id_token"))
	for _, name := range []string{"iss", "sub", "aud", "auth_time", "acr"} {
		if before[name] != after[name] {
			t.Errorf("%s was %v and is %v", name, before[name], after[name])
		}
	}
	if after["iat"] == before["iat"] || after["nonce"] != nil || second.str("refresh_token") == first.str("refresh_token") ||
		second.header.Get("Cache-Control") != "no-store" || second.str("scope") != first.str("scope") {
		t.Errorf("second answer: %s", second.raw)
	}
	userinfo(w, second.str("access_token")).want(t, 200, "")

	narrow := w.refresh("gateway", second.str("refresh_token"), "scope", "openid")
	narrow.want(t, 200, "")
	if narrow.str("scope") != "openid" || decodeClaims(t, narrow.str("access_token"))["scope"] != "openid" {
		t.Errorf("narrowed: %s", narrow.raw)
	}
	// A refusal uses nothing up, and the family keeps its scope.
	w.refresh("gateway", narrow.str("refresh_token"), "scope", "openid email").want(t, 400, "invalid_scope")
	w.refresh("gateway", narrow.str("refresh_token"), "authorization_details", "[]").want(t, 400, "invalid_authorization_details")
	w.refresh("other", narrow.str("refresh_token")).want(t, 400, "invalid_grant") // the owner's family is untouched
	wide := w.refresh("gateway", narrow.str("refresh_token"))
	wide.want(t, 200, "")
	if wide.str("scope") != first.str("scope") {
		t.Errorf("scope %q", wide.str("scope"))
	}
	for _, token := range []string{"x", "", wide.str("refresh_token") + "A", wide.str("access_token"), strings.Repeat("A", 86)} {
		code := "invalid_grant"
		if token == "" {
			code = "invalid_request"
		}
		w.refresh("gateway", token).want(t, 400, code)
	}
	// Refreshing does not prolong the family.
	w.clock.advance(23*time.Hour - time.Second)
	last := w.refresh("gateway", wide.str("refresh_token"))
	last.want(t, 200, "")
	w.clock.advance(time.Second)
	w.refresh("gateway", last.str("refresh_token")).want(t, 400, "invalid_grant")
}

func TestNoRefreshWithoutGrant(t *testing.T) {
	w := newWorld(t, nil)
	tokens, _ := w.redeemed()
	if tokens.body["refresh_token"] != nil {
		t.Errorf("refresh token: %s", tokens.raw)
	}
	w.refresh("gateway", strings.Repeat("A", 86)).want(t, 400, "unauthorized_client")
}

// RFC 9700 section 4.14.2: a refresh token that is used a second time ends the
// family, with its access tokens.
func TestRefreshReuse(t *testing.T) {
	w := refreshWorld(t)
	first, _ := w.redeemed()
	second := w.refresh("gateway", first.str("refresh_token"))
	second.want(t, 200, "")
	w.refresh("gateway", first.str("refresh_token")).want(t, 400, "invalid_grant")
	w.refresh("gateway", second.str("refresh_token")).want(t, 400, "invalid_grant")
	userinfo(w, second.str("access_token")).want(t, 401, "invalid_token")
}

// CIBA checklist T7: so does an auth_req_id.
func TestAuthReqIDReuse(t *testing.T) {
	w := refreshWorld(t)
	tokens, authReqID := w.redeemed()
	w.poll("other", authReqID).want(t, 400, "invalid_grant") // a stranger ends nothing
	userinfo(w, tokens.str("access_token")).want(t, 200, "")
	w.poll("gateway", authReqID).want(t, 400, "invalid_grant")
	userinfo(w, tokens.str("access_token")).want(t, 401, "invalid_token")
	w.refresh("gateway", tokens.str("refresh_token")).want(t, 400, "invalid_grant")
}

func TestRefreshRace(t *testing.T) {
	w := refreshWorld(t)
	tokens, _ := w.redeemed()
	var mu sync.Mutex
	var won []*answer
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			a := w.refresh("gateway", tokens.str("refresh_token"))
			mu.Lock()
			defer mu.Unlock()
			if a.status == 200 {
				won = append(won, a)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d got tokens", len(won))
	}
	w.refresh("gateway", won[0].str("refresh_token")).want(t, 400, "invalid_grant")
}

func TestRefreshChecksTheUser(t *testing.T) {
	w := refreshWorld(t)
	tokens, _ := w.redeemed()
	w.users.disable("sub-alice")
	w.refresh("gateway", tokens.str("refresh_token")).want(t, 400, "invalid_grant")
}

func TestIntrospection(t *testing.T) {
	w := refreshWorld(t)
	tokens, _ := w.redeemed()
	look := func(client, token string) *answer {
		t.Helper()
		a := w.post(client, "/introspect", "token", token)
		a.want(t, 200, "")
		return a
	}
	inactive := func(client, token string) {
		t.Helper()
		a := look(client, token)
		if a.raw != `{"active":false}` {
			t.Errorf("%s sees %s", client, a.raw)
		}
	}
	for _, client := range []string{"gateway", "bank"} { // the owner and the resource server
		a := look(client, tokens.str("access_token"))
		claims := decodeClaims(t, tokens.str("access_token"))
		for _, name := range []string{"sub", "client_id", "scope", "exp", "iat", "iss", "jti", "acr", "auth_time", "txn"} {
			if a.body[name] != claims[name] {
				t.Errorf("%s: %s is %v, want %v", client, name, a.body[name], claims[name])
			}
		}
		if a.body["active"] != true || a.str("token_type") != "Bearer" {
			t.Errorf("%s sees %s", client, a.raw)
		}
	}
	a := look("gateway", tokens.str("refresh_token"))
	if a.body["active"] != true || a.str("sub") != "sub-alice" {
		t.Errorf("refresh token: %s", a.raw)
	}
	inactive("other", tokens.str("access_token"))
	inactive("other", tokens.str("refresh_token"))
	inactive("bank", tokens.str("refresh_token"))
	inactive("gateway", tokens.str("id_token"))
	inactive("gateway", "x")
	inactive("gateway", strings.Repeat("A", 86))
	w.post("gateway", "/introspect").want(t, 400, "invalid_request")
	w.post("nobody", "/introspect", "token", "x").want(t, 401, "invalid_client")
	w.clock.advance(300 * time.Second)
	inactive("gateway", tokens.str("access_token"))
	w.clock.advance(-time.Second)
	look("bank", tokens.str("access_token"))
	w.users.disable("sub-alice")
	inactive("bank", tokens.str("access_token"))
}

func TestRevocation(t *testing.T) {
	w := refreshWorld(t)
	revoke := func(client, token string) {
		t.Helper()
		a := w.post(client, "/revoke", "token", token)
		if a.status != 200 || a.raw != "" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("revoke: %d %s", a.status, a.raw)
		}
	}
	tokens, _ := w.redeemed()
	revoke("other", tokens.str("access_token"))
	revoke("other", tokens.str("refresh_token"))
	userinfo(w, tokens.str("access_token")).want(t, 200, "")
	revoke("gateway", tokens.str("access_token"))
	revoke("gateway", tokens.str("access_token"))
	userinfo(w, tokens.str("access_token")).want(t, 401, "invalid_token")
	tokens = w.refresh("gateway", tokens.str("refresh_token")) // the family lives
	tokens.want(t, 200, "")
	revoke("gateway", tokens.str("refresh_token"))
	w.refresh("gateway", tokens.str("refresh_token")).want(t, 400, "invalid_grant")
	userinfo(w, tokens.str("access_token")).want(t, 401, "invalid_token")
	revoke("gateway", "x")
	w.post("gateway", "/revoke").want(t, 400, "invalid_request")
}

// A client takes back what it has asked for.
func TestCancel(t *testing.T) {
	cancel := func(w *world, client, authReqID string) {
		t.Helper()
		w.post(client, "/revoke", "token", authReqID).want(t, 200, "")
	}
	t.Run("pending", func(t *testing.T) {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		cancel(w, "other", authReqID)
		w.poll("gateway", authReqID).want(t, 400, "authorization_pending")
		cancel(w, "gateway", authReqID)
		cancel(w, "gateway", authReqID)
		w.poll("gateway", authReqID).want(t, 400, "invalid_grant")
		wantErr(t, w.approve(id), provider.ErrDecided)
		pending, err := w.Pending(t.Context(), "sub-alice")
		if err != nil || len(pending) != 0 {
			t.Errorf("pending: %v, %v", pending, err)
		}
		request, err := w.Request(t.Context(), "sub-alice", id)
		if err != nil || request.State != provider.StateCancelled {
			t.Errorf("%+v, %v", request, err)
		}
	})
	t.Run("approved", func(t *testing.T) {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		w.mustApprove(id)
		cancel(w, "gateway", authReqID)
		w.poll("gateway", authReqID).want(t, 400, "invalid_grant")
	})
	t.Run("denied", func(t *testing.T) {
		w := newWorld(t, nil)
		authReqID, id := w.start()
		err := w.Deny(t.Context(), "sub-alice", id)
		if err != nil {
			t.Fatal(err)
		}
		cancel(w, "gateway", authReqID)
		w.poll("gateway", authReqID).want(t, 400, "access_denied")
	})
	t.Run("redeemed", func(t *testing.T) {
		w := newWorld(t, nil)
		tokens, authReqID := w.redeemed()
		cancel(w, "gateway", authReqID)
		userinfo(w, tokens.str("access_token")).want(t, 401, "invalid_token")
	})
}
