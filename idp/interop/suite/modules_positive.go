package suite

import (
	"strings"
	"time"
)

func positiveModules() []Module {
	return []Module{
		{Name: "fapi-ciba-id1", run: bothClients},
		{Name: "fapi-ciba-id1-user-rejects-authentication", run: userRejects},
		{Name: "fapi-ciba-id1-multiple-call-to-token-endpoint", run: manyPolls},
		{Name: "fapi-ciba-id1-auth-req-id-expired", run: requestExpires},
		{Name: "fapi-ciba-id1-refresh-token", run: refreshing},
		{Name: "fapi-ciba-id1-ensure-authorization-request-with-binding-message-succeeds", run: func(r *run) {
			r.flow(r.first, with("binding_message", "1234"))
		}},
		{Name: "fapi-ciba-id1-ensure-authorization-request-with-potentially-bad-binding-message", run: badMessage},
		{Name: "fapi-ciba-id1-ensure-other-scope-order-succeeds", run: func(r *run) {
			r.flow(r.first, scopeReversed)
		}},
		{Name: "fapi-ciba-id1-ensure-requested-expiry-as-string-succeeds", run: func(r *run) {
			r.flow(r.first, with("requested_expiry", "30"))
		}},
	}
}

// bothClients plays the flow with both clients, tries the first client's
// certificate with the second one's token, and an auth_req_id twice.
func bothClients(r *run) {
	r.checkTLS(r.Config.Resource.URL, false)
	r.varyResource(r.flowAs(r.first, []authChange{audience(r.server.Issuer)}))

	changes := []change{with("requested_expiry", 300)}
	if r.ping() {
		// The longest token, of every character that RFC 6750 allows.
		changes = append(changes, with("client_notification_token", longToken()))
	}
	if len(r.server.ACRValues) > 0 {
		changes = append(changes, with("acr_values", r.second.ACRValue))
	}
	s := r.start(r.newRequest(r.second, changes...), audience(r.server.Token))
	r.pendingTwice(s)
	t := r.finish(s)
	if len(r.server.ACRValues) > 0 && t.claims["acr"] != r.second.ACRValue {
		r.Errorf("acr is %v, not %s", t.claims["acr"], r.second.ACRValue)
	}
	r.useResource(t)
	a := r.callResource(r.first, t.access, nil)
	if a.status < 400 || a.status > 499 {
		r.Errorf("resource takes a token with the certificate of somebody else: %d", a.status)
	}
	r.poll(r.second, s.authReqID).refused(problem{400, "invalid_grant"})
}

// longToken is a token of 1024 characters, with every kind that RFC 6750 section
// 2.1 allows.
func longToken() string {
	token := random(762)
	return "-._~+/" + token[:1024-8] + "=="
}

// userRejects has the user deny.
func userRejects(r *run) {
	s := r.start(r.newRequest(r.first))
	r.pendingTwice(s)
	r.decide(s.authReqID, "deny")
	if r.ping() {
		r.expectPing(s)
	} else {
		r.Sleep(s.delay)
	}
	r.poll(r.first, s.authReqID).refused(problem{400, "access_denied"})
}

// manyPolls polls twenty times without a pause.
func manyPolls(r *run) {
	s := r.start(r.newRequest(r.first))
	r.pendingTwice(s)
	for range 20 {
		r.poll(r.first, s.authReqID).notYet()
	}
	r.end(s)
}

// requestExpires waits until a request has expired.
func requestExpires(r *run) {
	s := r.start(r.newRequest(r.first, with("requested_expiry", 10)))
	if s.expiresIn != 10*time.Second {
		r.Errorf("request with requested_expiry 10 expires in %s", s.expiresIn)
	}
	r.pendingTwice(s)
	r.Sleep(s.expiresIn)
	if r.ping() {
		r.Sleep(5 * time.Second)
	}
	r.poll(r.first, s.authReqID).refused(problem{400, "expired_token"})
	if r.ping() {
		r.mayPing(s)
	}
}

// refreshing refreshes the tokens of both clients, and tries the second client's
// refresh token as the first.
func refreshing(r *run) {
	for _, c := range []*client{r.first, r.second} {
		auth, scope := audience(r.server.Issuer), c.Scope
		if c.second {
			auth, scope = audience(r.server.Token), ""
		}
		before := r.flowAs(c, []authChange{auth})
		if before.refresh == "" {
			r.Fatal("there is no refresh token")
		}
		r.Sleep(time.Second)
		after := r.refreshed(before, r.refreshTokens(c, before.refresh, scope))
		r.useResource(after)
		if !c.second {
			continue
		}
		if after.refresh == "" {
			after.refresh = before.refresh
		}
		r.refreshTokens(r.first, after.refresh, "").refused(problem{400, "invalid_grant"})
	}
}

// badMessage sends a message that can't be shown on a small screen. There is
// nobody who could look at it, so it must be refused.
func badMessage(r *run) {
	message := strings.Repeat("1234567890 This is a long message \U0001F600\U0001F4A9 \u9019\u662F\u4E00\u500B\u6E2C\u8A66 ", 10)
	r.backchannel(r.newRequest(r.first, with("binding_message", message))).refused(problem{400, "invalid_binding_message"})
}
