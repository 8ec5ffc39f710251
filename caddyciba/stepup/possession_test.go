package stepup

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// binder makes the provider bind its tokens to the current key of a source.
type binder struct {
	*provider
	keys ciba.DPoPKeys
}

func (b binder) Wait(ctx context.Context, p *ciba.Pending, check ciba.Check, onPoll func(int, error)) (*ciba.Tokens, error) {
	tokens, err := b.provider.Wait(ctx, p, check, onPoll)
	if err != nil {
		return nil, err
	}
	key, err := b.keys.Current(ctx)
	if err != nil {
		return nil, err
	}
	tokens.TokenType, tokens.DPoPKey = "DPoP", key.Thumbprint()
	return tokens, nil
}

func newProofs(t *testing.T) (ciba.DPoPKeys, *ciba.DPoP) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ciba.NewDPoPKey(&jose.JSONWebKey{Key: private}, "")
	if err != nil {
		t.Fatal(err)
	}
	return proofsOf(t, ciba.FixedDPoPKey(key))
}

func proofsOf(t *testing.T, keys ciba.DPoPKeys) (ciba.DPoPKeys, *ciba.DPoP) {
	t.Helper()
	proofs, err := ciba.NewDPoP(ciba.DPoPConfig{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return keys, proofs
}

func binding(keys ciba.DPoPKeys, proofs *ciba.DPoP) func(*Config) {
	return func(cfg *Config) {
		cfg.DPoP = proofs
		cfg.Client = binder{provider: cfg.Client.(*provider), keys: keys}
	}
}

// strictAPI is an upstream that takes bound tokens alone, each proof once, and, if it
// wants them, with its nonce.
type strictAPI struct {
	t     *testing.T
	key   string // thumbprint that the token is bound to
	htu   string
	nonce string

	counting
	used map[any]bool
	good int
	seen []string // nonces of the proofs
}

func (a *strictAPI) next(w http.ResponseWriter, r *http.Request) error {
	err := a.counting.next(httptest.NewRecorder(), r)
	if err != nil {
		return err
	}
	claims := a.judge(r)
	given, _ := claims["nonce"].(string)
	a.seen = append(a.seen, given)
	if a.nonce != "" {
		w.Header().Set("DPoP-Nonce", a.nonce)
	}
	if given != a.nonce {
		w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce", error_description="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	a.good++
	w.WriteHeader(http.StatusCreated)
	return nil
}

// judge verifies a request as RFC 9449 section 4.3 says.
func (a *strictAPI) judge(r *http.Request) map[string]any {
	a.t.Helper()
	if got := r.Header.Values("Authorization"); len(got) != 1 || got[0] != "DPoP "+testToken {
		a.t.Errorf("Authorization is %q", got)
	}
	proofs := r.Header.Values("DPoP")
	if len(proofs) != 1 {
		a.t.Fatalf("there are %d proofs", len(proofs))
	}
	signed, err := jose.ParseSignedCompact(proofs[0], []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		a.t.Fatal(err)
	}
	key := signed.Signatures[0].Protected.JSONWebKey
	payload, err := signed.Verify(key)
	if err != nil {
		a.t.Fatal(err)
	}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		a.t.Fatal(err)
	}
	var claims map[string]any
	err = json.Unmarshal(payload, &claims)
	if err != nil {
		a.t.Fatal(err)
	}
	hash := sha256.Sum256([]byte(testToken))
	text := base64.RawURLEncoding.EncodeToString
	iat, _ := claims["iat"].(float64)
	age := time.Since(time.Unix(int64(iat), 0))
	if text(thumbprint) != a.key || claims["ath"] != text(hash[:]) || claims["htm"] != r.Method || claims["htu"] != a.htu ||
		age < -2*time.Second || age > time.Minute {
		a.t.Errorf("proof is %v by %s, want htu %s", claims, text(thumbprint), a.htu)
	}
	if a.used == nil {
		a.used = make(map[any]bool)
	}
	if a.used[claims["jti"]] {
		a.t.Error("a proof came twice")
	}
	a.used[claims["jti"]] = true
	return claims
}

// An approved request has the token behind DPoP, with a proof of this request as the
// upstream knows it, and nothing of what the caller has sent for one.
func TestProofGoesWithTheToken(t *testing.T) {
	for name, row := range map[string]struct{ base, target, htu string }{
		"as the caller knows it":   {"", "https://API.example.com/v1/a%20b?x=1", "https://api.example.com/v1/a%20b"},
		"plain":                    {"", "http://api.example.com:8080/", "http://api.example.com:8080/"},
		"as the upstream knows it": {"https://core.bank.internal:8443/legacy/", "http://api.example.com/v1/t?x=1", "https://core.bank.internal:8443/legacy/v1/t"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, proofs := newProofs(t)
			key, err := keys.Current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			api := &strictAPI{t: t, key: key.Thumbprint(), htu: row.htu}
			b := newBench(t, api.next, binding(keys, proofs))
			b.route.ProofBase = row.base
			answer := b.do("POST", row.target, "1", http.Header{
				"Authorization": {"DPoP mine"}, "Dpop": {"caller's"}, "DPOP": {"caller's"},
			})
			if answer.Code != http.StatusCreated || api.good != 1 {
				t.Errorf("status %d, %d requests were good", answer.Code, api.good)
			}
		})
	}
}

// A caller's own proof goes on with its own token, and goes with it where the gate
// sets another.
func TestCallersProof(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*Route)
		proof  bool
	}{
		"needs no approval": {func(rt *Route) {
			rt.When = func(context.Context, *Snapshot, *Document) (bool, error) { return false, nil }
		}, true},
		"only tried out":             {func(rt *Route) { rt.ReportOnly = true }, true},
		"no token":                   {func(rt *Route) { rt.NoToken = true }, true},
		"token elsewhere":            {func(rt *Route) { rt.TokenHeader = "X-Token" }, true},
		"token elsewhere, and bound": {func(rt *Route) { rt.TokenHeader, rt.Proves = "X-Token", true }, false},
		"token":                      {func(*Route) {}, false},
		"token, and bound":           {func(rt *Route) { rt.Proves = true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			upstream := &counting{}
			b := newBench(t, upstream.next)
			row.change(b.route)
			answer := b.do("POST", "/p", "1", http.Header{"Authorization": {"DPoP mine"}, "Dpop": {"mine"}})
			if answer.Code != http.StatusCreated || upstream.count() != 1 {
				t.Fatalf("status %d", answer.Code)
			}
			if got := upstream.header.Get("DPoP"); (got == "mine") != row.proof || !row.proof && got != "" {
				t.Errorf("the upstream got %v", upstream.header)
			}
		})
	}
}

// A demand for a nonce is the caller's answer: the request is not sent once more, and
// the next one has the nonce (INV-5).
func TestUpstreamDemandsNonce(t *testing.T) {
	keys, proofs := newProofs(t)
	key, err := keys.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	api := &strictAPI{t: t, key: key.Thumbprint(), htu: "http://example.com/p", nonce: "n-1"}
	b := newBench(t, api.next, binding(keys, proofs))
	answer := b.do("POST", "/p", "1", nil)
	if answer.Code != http.StatusUnauthorized || api.count() != 1 || b.only(t).State != StateAnswered {
		t.Fatalf("status %d, sent %d times, state %s", answer.Code, api.count(), b.only(t).State)
	}
	if answer.Header().Get("DPoP-Nonce") != "n-1" {
		t.Error("the answer is not the upstream's")
	}
	answer = b.do("POST", "/p", "2", nil)
	if answer.Code != http.StatusCreated || api.count() != 2 || api.seen[1] != "n-1" {
		t.Errorf("status %d, sent %d times with nonces %q", answer.Code, api.count(), api.seen)
	}
}

// Each request that an earlier approval covers has a proof of its own.
func TestCoveredHasFreshProofs(t *testing.T) {
	keys, proofs := newProofs(t)
	key, err := keys.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	api := &strictAPI{t: t, key: key.Thumbprint(), htu: "http://example.com/p"}
	b := newBench(t, api.next, binding(keys, proofs))
	b.route.Reuse = time.Minute
	b.do("POST", "/p", "1", nil)
	for range 3 {
		r := httptest.NewRequest("POST", "/p", strings.NewReader("2"))
		r.Header.Set("DPoP", "caller's")
		out, _, err := b.gate.Covered(httptest.NewRecorder(), r, b.route, "teller", "alice")
		if err != nil || out == nil {
			t.Fatalf("not covered: %v", err)
		}
		w := httptest.NewRecorder()
		err = api.next(w, out)
		if err != nil {
			t.Fatal(err)
		}
	}
	if api.good != 4 || b.client.asked() != 1 {
		t.Errorf("%d requests were good, asked %d times", api.good, b.client.asked())
	}
	b.gate.Learn(b.route, httptest.NewRequest("POST", "/p", nil), http.Header{"Dpop-Nonce": {"n-9"}})
	api.nonce = "n-9"
	out, _, err := b.gate.Covered(httptest.NewRecorder(), httptest.NewRequest("POST", "/p", nil), b.route, "teller", "alice")
	if err != nil || out == nil {
		t.Fatalf("not covered: %v", err)
	}
	err = api.next(httptest.NewRecorder(), out)
	if err != nil || api.good != 5 {
		t.Errorf("nonces are %q, error %v", api.seen, err)
	}
}

// Without the key nothing is sent, and the token is given back.
func TestKeyIsGone(t *testing.T) {
	keys, _ := newProofs(t)
	_, others := newProofs(t)
	for name, proofs := range map[string]*ciba.DPoP{"another key": others, "none": nil} {
		t.Run(name, func(t *testing.T) {
			upstream := &counting{}
			b := newBench(t, upstream.next, binding(keys, proofs))
			answer := b.do("POST", "/p", "1", nil)
			if answer.Code != http.StatusInternalServerError || upstream.count() != 0 || b.client.revocations() != 1 {
				t.Errorf("status %d, sent %d times, %d tokens given back", answer.Code, upstream.count(), b.client.revocations())
			}
			if got := b.only(t).State; got != StateFailed {
				t.Errorf("state is %s", got)
			}
		})
	}
}

// A kept request finds its key again after a restart, also when it was replaced.
func TestProofAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &leaking{Store: store.NewMemory(store.Options{})}
		defer shared.Close()
		sharing := func(cfg *Config) { cfg.Store, cfg.EncryptionKeys = shared, [][]byte{bytes.Repeat([]byte{7}, 32)} }
		ring := newKeyring(t, shared, nil)
		key, err := ring.Current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		keys, proofs := proofsOf(t, ring)
		dead := newBench(t, answering(201, ""), sharing, binding(keys, proofs))
		dead.route.Mode = ModeAsync
		shared.until(StateApproved)
		dead.do("POST", "/p", "1", nil)
		synctest.Wait()
		shared.until("*")
		_, err = newKeyring(t, shared, nil).Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		keys, proofs = proofsOf(t, newKeyring(t, shared, nil))
		api := &strictAPI{t: t, key: key.Thumbprint(), htu: "http://example.com/p"}
		b := newBench(t, api.next, sharing, binding(keys, proofs))
		b.route.Mode = ModeAsync
		found, err := b.gate.Journal().Recover(t.Context(), true)
		if err == nil {
			err = b.gate.TakeUp(t.Context(), found.Orphans)
		}
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if tr := b.only(t); tr.State != StateAnswered || api.good != 1 {
			t.Errorf("state %s %s, %d requests were good", tr.State, tr.Problem, api.good)
		}
	})
}
