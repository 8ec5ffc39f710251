package ciba

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// dpopAnswer is a token answer of type DPoP, with an access token that has the claims,
// or an opaque one if there are none.
func dpopAnswer(op *fakeOP, claims map[string]any) map[string]any {
	answer := tokenAnswer(forge(testKey, "ES256", nil, op.claims()))
	answer["token_type"] = "DPoP"
	if claims != nil {
		answer["access_token"] = forge(testKey, "ES256", map[string]any{"typ": "at+jwt"}, claims)
	}
	return answer
}

func newDPoPClient(t *testing.T, change func(*Config)) (*Client, *fakeOP, *DPoPKey) {
	t.Helper()
	d, key := newTestDPoP(t, nil)
	c, op := newTestClient(t, func(cfg *Config) {
		cfg.DPoP = d
		if change != nil {
			change(cfg)
		}
	})
	return c, op, key
}

// judgeProof checks the proof of a token request.
func judgeProof(t *testing.T, op *fakeOP, key *DPoPKey, got call, nonce any) map[string]any {
	t.Helper()
	if len(got.header.Values("DPoP")) != 1 {
		t.Fatalf("proofs: %v", got.header.Values("DPoP"))
	}
	claims, thumbprint, err := openProof(got.header.Get("DPoP"))
	if err != nil {
		t.Fatal(err)
	}
	if claims["htm"] != "POST" || claims["htu"] != op.issuer+"/token" || claims["ath"] != nil || claims["nonce"] != nonce ||
		thumbprint != key.Thumbprint() {
		t.Errorf("claims of the proof: %v", claims)
	}
	iat, _ := claims["iat"].(float64)
	if age := time.Since(time.Unix(int64(iat), 0)); age < -time.Second || age > time.Minute {
		t.Errorf("the proof is %s old", age)
	}
	return claims
}

func TestDPoPTokenRequest(t *testing.T) {
	c, op, key := newDPoPClient(t, nil)
	op.onPolls(refuses(CodeAuthorizationPending), func(w http.ResponseWriter, _ *http.Request) {
		sendJSON(w, 200, dpopAnswer(op, map[string]any{"cnf": map[string]any{"jkt": key.Thumbprint()}}))
	})
	p := start(t, c)
	if got := op.seen("/backchannel")[0].header.Values("DPoP"); got != nil {
		t.Errorf("the authentication request has a proof: %v", got)
	}
	_, err := c.Poll(t.Context(), p)
	wantCode(t, err, CodeAuthorizationPending)
	tokens, err := c.Poll(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if tokens.TokenType != "DPoP" || tokens.DPoPKey != key.Thumbprint() {
		t.Errorf("tokens are of type %s for key %s", tokens.TokenType, tokens.DPoPKey)
	}
	calls := op.seen("/token")
	first, second := judgeProof(t, op, key, calls[0], nil), judgeProof(t, op, key, calls[1], nil)
	if first["jti"] == second["jti"] {
		t.Error("a proof was sent twice")
	}
}

// demandNonce refuses until a proof has the nonce that was handed out last, and
// hands out another one with each answer.
func demandNonce(next http.HandlerFunc) http.HandlerFunc {
	served, wanted := 0, ""
	return func(w http.ResponseWriter, r *http.Request) {
		claims, _, err := openProof(r.Header.Get("DPoP"))
		good := err == nil && wanted != "" && claims["nonce"] == wanted
		served++
		wanted = "nonce-" + strconv.Itoa(served)
		w.Header().Set("DPoP-Nonce", wanted)
		if !good {
			refuses("use_dpop_nonce")(w, r)
			return
		}
		next(w, r)
	}
}

// The provider's demand for a nonce costs one more request the first time and none
// later, and each request has an assertion of its own (RFC 9449 section 8).
func TestDPoPNonceOfProvider(t *testing.T) {
	jwk := newECKey("c")
	auth, err := PrivateKeyJWT(&jwk, "")
	if err != nil {
		t.Fatal(err)
	}
	c, op, key := newDPoPClient(t, func(cfg *Config) { cfg.Auth = auth })
	op.onPolls(demandNonce(refuses(CodeAuthorizationPending)))
	p := start(t, c)
	for range 2 {
		_, err := c.Poll(t.Context(), p)
		wantCode(t, err, CodeAuthorizationPending)
	}
	calls := op.seen("/token")
	if len(calls) != 3 {
		t.Fatalf("%d token requests, want 3", len(calls))
	}
	assertions := make(map[string]bool)
	for i, nonce := range []any{nil, "nonce-1", "nonce-2"} {
		judgeProof(t, op, key, calls[i], nonce)
		values := calls[i].form["client_assertion"]
		if len(values) != 1 || assertions[values[0]] || len(calls[i].form["auth_req_id"]) != 1 {
			t.Errorf("form of request %d: %v", i, calls[i].form)
		}
		assertions[values[0]] = true
	}
}

// A provider that is never content is asked twice for each poll, and not given up.
func TestDPoPNonceNeverGoodEnough(t *testing.T) {
	c, op, _ := newDPoPClient(t, nil)
	op.onPolls(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("DPoP-Nonce", "again")
		refuses("use_dpop_nonce")(w, r)
	})
	p := start(t, c)
	_, err := c.Poll(t.Context(), p)
	wantCode(t, err, CodeUnavailable)
	if n := len(op.seen("/token")); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
	// Without a nonce there is nothing to do better.
	op.onPolls(refuses("use_dpop_nonce"))
	_, err = c.Poll(t.Context(), p)
	wantCode(t, err, CodeUnavailable)
	if n := len(op.seen("/token")); n != 3 {
		t.Errorf("%d token requests, want 3", n)
	}
}

// Which token answers are taken with a key, and what becomes of the tokens that are
// not (threats T15).
func TestDPoPTokenAnswers(t *testing.T) {
	other := "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	for name, row := range map[string]struct {
		kind    string
		access  string // instead of a JWT
		claims  map[string]any
		own     bool // cnf has our key
		bearer  bool // AllowBearer
		code    string
		without bool // the client has no key
	}{
		"opaque":                         {kind: "DPoP"},
		"lower case":                     {kind: "dpop"},
		"JWT with our key":               {kind: "DPoP", own: true, claims: map[string]any{}},
		"JWT with another key":           {kind: "DPoP", claims: map[string]any{"cnf": map[string]any{"jkt": other}}, code: CodeInvalidToken},
		"JWT with a certificate":         {kind: "DPoP", claims: map[string]any{"cnf": map[string]any{"x5t#S256": other}}, code: CodeInvalidToken},
		"JWT with a cnf that is text":    {kind: "DPoP", claims: map[string]any{"cnf": other}, code: CodeInvalidToken},
		"JWT with a jkt number":          {kind: "DPoP", claims: map[string]any{"cnf": map[string]any{"jkt": 1}}, code: CodeInvalidToken},
		"JWT without a key":              {kind: "DPoP", claims: map[string]any{"sub": "x"}, code: CodeInvalidToken},
		"three parts that are no JWT":    {kind: "DPoP", access: "a.b.c"},
		"Bearer":                         {kind: "Bearer", code: CodeUnsupported},
		"Bearer with our key":            {kind: "Bearer", own: true, claims: map[string]any{}, code: CodeUnsupported},
		"Bearer that is allowed":         {kind: "Bearer", bearer: true},
		"another key in spite of that":   {kind: "DPoP", bearer: true, claims: map[string]any{"cnf": map[string]any{"jkt": other}}, code: CodeInvalidToken},
		"another type":                   {kind: "N_A", code: CodeInvalidResponse},
		"no type":                        {kind: "", code: CodeInvalidResponse},
		"DPoP for a client without keys": {kind: "DPoP", without: true, code: CodeInvalidResponse},
	} {
		t.Run(name, func(t *testing.T) {
			c, op, key := newDPoPClient(t, func(cfg *Config) {
				cfg.AllowBearer = row.bearer
				if row.without {
					cfg.DPoP = nil
				}
			})
			if row.own {
				row.claims["cnf"] = map[string]any{"jkt": key.Thumbprint()}
			}
			answer := dpopAnswer(op, row.claims)
			answer["token_type"] = row.kind
			if row.access != "" {
				answer["access_token"] = row.access
			}
			op.onPolls(sends(200, answer))
			tokens, err := c.Poll(t.Context(), start(t, c))
			if Code(err) != row.code {
				t.Fatalf("error %v, want code %q", err, row.code)
			}
			revoked := len(op.seen("/revoke"))
			if row.code == CodeUnsupported && revoked != 1 || row.code == "" && revoked != 0 {
				t.Errorf("%d tokens were given back", revoked)
			}
			if err == nil && (tokens.DPoPKey == "") != row.bearer {
				t.Errorf("key of the tokens is %q", tokens.DPoPKey)
			}
		})
	}
}

// No customer is asked where no proof would be taken, or none could be made.
func TestDPoPBeforeTheCustomerIsAsked(t *testing.T) {
	c, op, _ := newDPoPClient(t, nil)
	md := op.metadata()
	md["dpop_signing_alg_values_supported"] = []string{"PS256", "EdDSA"}
	op.on("/.well-known/openid-configuration", sends(200, md))
	_, err := c.Start(t.Context(), Request{LoginHint: "alice"})
	wantCode(t, err, CodeUnsupported)

	broken, err := NewDPoP(DPoPConfig{Keys: noKeys{}})
	if err != nil {
		t.Fatal(err)
	}
	c, op = newTestClient(t, func(cfg *Config) { cfg.DPoP = broken })
	_, err = c.Start(t.Context(), Request{LoginHint: "alice"})
	wantCode(t, err, CodeUnavailable)
	if len(op.seen("/backchannel")) != 0 {
		t.Error("the customer was asked")
	}
	_, err = NewClient(Config{Issuer: op.issuer, ClientID: "c", Auth: ClientSecretBasic("s"), DPoP: broken, Delivery: DeliveryPush})
	if err == nil {
		t.Error("push was accepted")
	}
}

type noKeys struct{}

var errNoKeys = errors.New("store is down")

func (noKeys) Current(context.Context) (*DPoPKey, error)      { return nil, errNoKeys }
func (noKeys) Find(context.Context, string) (*DPoPKey, error) { return nil, errNoKeys }
