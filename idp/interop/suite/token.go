package suite

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxSkew is by how much iat of a fresh ID Token may differ from the suite's clock.
const maxSkew = 5 * time.Minute

// poll asks for the tokens of a request, with the client's certificate.
func (r *run) poll(c *client, authReqID string, auth ...authChange) *answer {
	r.Helper()
	form := url.Values{"grant_type": {grantCIBA}, "auth_req_id": {authReqID}}
	endpoint := r.tokenEndpoint()
	r.authenticate(c, form, endpoint, auth...)
	return r.post(c.http, endpoint, form)
}

// started is a request that the provider has taken.
type started struct {
	client    *client
	authReqID string
	expiresIn time.Duration
	delay     time.Duration // between polls
	token     string
}

// start sends a proper request, with changes, and checks the answer.
func (r *run) start(q *request, auth ...authChange) *started {
	r.Helper()
	a := r.backchannel(q, auth...)
	a.ok()
	s := &started{client: q.client, authReqID: a.text("auth_req_id"), token: q.token, delay: 5 * time.Second}
	checkAuthReqID(r, s.authReqID)
	expires, ok := a.json["expires_in"].(float64)
	if !ok || expires <= 0 || expires > 366*24*3600 {
		r.Fatalf("expires_in: %s", a.body)
	}
	s.expiresIn = time.Duration(expires * float64(time.Second))
	interval, there := a.json["interval"]
	if there {
		seconds, ok := interval.(float64)
		if !ok || seconds < 0 || seconds > 21600 {
			r.Fatalf("interval: %s", a.body)
		}
		s.delay = max(s.delay, time.Duration(seconds*float64(time.Second)))
	}
	return s
}

// pendingTwice polls twice before the user has decided.
func (r *run) pendingTwice(s *started) {
	r.Helper()
	r.poll(s.client, s.authReqID).notYet()
	r.Sleep(s.delay)
	a := r.poll(s.client, s.authReqID)
	a.notYet()
	if a.text("error") == "slow_down" {
		s.delay += 5 * time.Second
		r.Sleep(s.delay)
	}
}

// notYet checks that an answer says that the user has not decided.
func (a *answer) notYet() {
	a.run.Helper()
	a.refused(problem{400, "authorization_pending"}, problem{400, "slow_down"})
}

// tokens is a token response that was checked.
type tokens struct {
	client  *client
	access  string
	refresh string
	claims  map[string]any // of the ID Token; nil if there was none
}

// finish approves a request and returns its tokens: at a later poll, or at the
// notification in ping mode.
func (r *run) finish(s *started) *tokens {
	r.Helper()
	r.decide(s.authReqID, "allow")
	if r.ping() {
		r.expectPing(s)
		return r.checkTokens(s.client, r.poll(s.client, s.authReqID), s.authReqID)
	}
	r.Sleep(s.delay)
	return r.checkTokens(s.client, r.poll(s.client, s.authReqID), s.authReqID)
}

// flow is the common flow: request, two polls, approval, tokens, resource.
func (r *run) flow(c *client, changes ...change) *tokens {
	r.Helper()
	return r.flowAs(c, nil, changes...)
}

func (r *run) flowAs(c *client, auth []authChange, changes ...change) *tokens {
	r.Helper()
	s := r.start(r.newRequest(c, changes...), auth...)
	r.pendingTwice(s)
	t := r.finish(s)
	if t.claims == nil {
		r.Fatal("there is no ID Token")
	}
	r.useResource(t)
	return t
}

// checkTokens checks a token response. authReqID is empty after refreshing.
func (r *run) checkTokens(c *client, a *answer, authReqID string) *tokens {
	r.Helper()
	a.ok()
	if !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
		r.Errorf("Cache-Control of tokens is %q", a.header.Get("Cache-Control"))
	}
	if !strings.EqualFold(a.text("token_type"), "Bearer") {
		r.Errorf("token_type is %q", a.text("token_type"))
	}
	expires, ok := a.json["expires_in"].(float64)
	if !ok || expires <= 0 {
		r.Errorf("expires_in of the access token: %v", a.json["expires_in"])
	}
	t := &tokens{client: c, access: a.text("access_token"), refresh: a.text("refresh_token")}
	checkSecret(r, "access_token", t.access)
	if t.refresh != "" {
		checkSecret(r, "refresh_token", t.refresh)
	}
	idToken := a.text("id_token")
	if idToken == "" {
		return t
	}
	t.claims = r.checkIDToken(c, idToken)
	r.checkHash(t.claims, "at_hash", t.access)
	r.checkHash(t.claims, "urn:openid:params:jwt:claim:rt_hash", t.refresh)
	id, there := t.claims["urn:openid:params:jwt:claim:auth_req_id"]
	if there && id != authReqID {
		r.Errorf("ID Token is for the request %v", id)
	}
	return t
}

// checkIDToken verifies an ID Token and returns its claims.
func (r *run) checkIDToken(c *client, token string) map[string]any {
	r.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.PS256, jose.ES256})
	if err != nil {
		r.Fatalf("reading ID Token: %v", err)
	}
	kid := jws.Signatures[0].Header.KeyID
	keys := r.serverKeys()
	found := keys.Key(kid)
	if kid == "" || len(found) != 1 {
		r.Fatalf("the JWKS has %d keys with the id %q", len(found), kid)
	}
	payload, err := jws.Verify(found[0].Key)
	if err != nil {
		r.Fatalf("verifying ID Token: %v", err)
	}
	var got map[string]any
	err = json.Unmarshal(payload, &got)
	if err != nil {
		r.Fatalf("reading ID Token: %v", err)
	}
	var times struct {
		Expires  *int64 `json:"exp"`
		IssuedAt *int64 `json:"iat"`
	}
	err = json.Unmarshal(payload, &times)
	if err != nil || times.Expires == nil || times.IssuedAt == nil {
		r.Fatalf("times of the ID Token: %s", payload)
	}
	now := r.Now()
	sub, _ := got["sub"].(string)
	switch {
	case got["iss"] != r.server.Issuer:
		r.Errorf("iss of the ID Token is %v", got["iss"])
	case sub == "" || len(sub) > 255:
		r.Errorf("sub of the ID Token is %v", got["sub"])
	case !isAudience(got["aud"], c.ID):
		r.Errorf("aud of the ID Token is %v", got["aud"])
	case !now.Before(time.Unix(*times.Expires, 0)):
		r.Error("ID Token has expired")
	case now.Sub(time.Unix(*times.IssuedAt, 0)).Abs() > maxSkew:
		r.Error("ID Token was not made now")
	}
	for _, name := range []string{"c_hash", "s_hash", "nonce"} {
		_, there := got[name]
		if there {
			r.Errorf("ID Token has %s", name)
		}
	}
	return got
}

// isAudience reports whether aud is the client alone.
func isAudience(aud any, id string) bool {
	list, isList := aud.([]any)
	if isList {
		return len(list) == 1 && list[0] == id
	}
	return aud == id
}

// checkHash checks the hash of a token, if there is one. Both algorithms that the
// suite takes hash by SHA-256.
func (r *run) checkHash(c map[string]any, name, token string) {
	r.Helper()
	value, there := c[name]
	if !there {
		return
	}
	sum := sha256.Sum256([]byte(token))
	if token == "" || value != base64.RawURLEncoding.EncodeToString(sum[:16]) {
		r.Errorf("%s is %v", name, value)
	}
}

// refreshTokens uses a refresh token.
func (r *run) refreshTokens(c *client, token, scope string) *answer {
	r.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	if scope != "" {
		form.Set("scope", scope)
	}
	endpoint := r.tokenEndpoint()
	auth := r.server.Issuer
	if c.second {
		auth = r.server.Token
	}
	r.authenticate(c, form, endpoint, audience(auth))
	return r.post(c.http, endpoint, form)
}

// refreshed checks the tokens after refreshing against those before.
func (r *run) refreshed(before *tokens, a *answer) *tokens {
	r.Helper()
	after := r.checkTokens(before.client, a, "")
	if after.claims == nil {
		return after
	}
	for _, name := range []string{"iss", "sub", "auth_time"} {
		if after.claims[name] != before.claims[name] {
			r.Errorf("%s was %v and is now %v", name, before.claims[name], after.claims[name])
		}
	}
	if after.claims["iat"] == before.claims["iat"] {
		r.Error("iat has not changed")
	}
	_, hadAZP := before.claims["azp"]
	_, hasAZP := after.claims["azp"]
	if hasAZP && !hadAZP {
		r.Error("azp is new")
	}
	return after
}

// scopeReversed is the client's scope in the other order.
func scopeReversed(_ *run, q *request) {
	names := strings.Fields(q.client.Scope)
	slices.Reverse(names)
	q.claims["scope"] = strings.Join(names, " ")
}
