package provider_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

// badJWT is a JWT while it is changed from good to bad. It is put together by hand:
// no library makes most of these.
type badJWT struct {
	header, claims              map[string]json.RawMessage
	member, headerMember        string
	payload, token, sign, twice string
	policy                      string
	headers                     int
	params                      url.Values
	status                      int
	code                        string
	expiresIn                   string
	unsigned                    bool
}

var relativeTime = regexp.MustCompile(`\{now([+-]\d+)\}`)

// apply changes the JWT by one line of a case. jwks gives the keys of the verb jwk.
func (b *badJWT) apply(t *testing.T, line string, now time.Time, jwks map[string]string) {
	t.Helper()
	line = relativeTime.ReplaceAllStringFunc(line, func(m string) string {
		offset, err := strconv.ParseInt(relativeTime.FindStringSubmatch(m)[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return strconv.FormatInt(now.Unix()+offset, 10)
	})
	verb, rest, _ := strings.Cut(expand(line, ""), " ")
	name, value, _ := strings.Cut(rest, " ")
	switch verb {
	case "claim":
		b.claims[name] = json.RawMessage(value)
	case "unclaim":
		delete(b.claims, name)
	case "header":
		b.header[name] = json.RawMessage(value)
	case "unheader":
		delete(b.header, name)
	case "jwk":
		b.header["jwk"] = json.RawMessage(jwks[rest])
	case "member":
		b.member = rest + ","
	case "headermember":
		b.headerMember = rest + ","
	case "payload":
		b.payload = rest
	case "token":
		b.token = rest
		if rest == "" {
			b.headers = -1
		}
	case "sign":
		b.sign = rest
	case "twice":
		b.twice = "twice " + rest
	case "policy":
		b.policy = rest
	case "headers":
		b.headers = 2
	case "set":
		values, err := url.ParseQuery(rest)
		if err != nil {
			t.Fatal(err)
		}
		for name := range values {
			b.params[name] = values[name]
		}
	case "unsigned":
		b.unsigned = true
	case "expires_in":
		b.expiresIn = rest
	case "want":
		b.status, _ = strconv.Atoi(name)
		b.code = value
	default:
		t.Fatalf("unknown line %q", line)
	}
}

// object writes members as JSON text, also those that are none.
func object(first string, members map[string]json.RawMessage) string {
	var parts []string
	for name, value := range members {
		parts = append(parts, strconv.Quote(name)+":"+string(value))
	}
	return "{" + first + strings.Join(parts, ",") + "}"
}

// forger has the keys by which JWTs are signed well and badly.
type forger struct {
	own, another *ecdsa.PrivateKey
	rsa          *rsa.PrivateKey
}

func newForger(t *testing.T) *forger {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	another, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &forger{own, another, key}
}

// jwk writes a key, with its private part if there is one in it.
func jwk(t *testing.T, key any) string {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func es256(t *testing.T, key *ecdsa.PrivateKey, input string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func hs256(secret, input string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(input))
	return mac.Sum(nil)
}

// compact returns the JWT in its compact form, signed as the case says.
func (f *forger) compact(t *testing.T, b *badJWT) string {
	t.Helper()
	if b.token != "" {
		return b.token
	}
	payload := b.payload
	if payload == "" {
		payload = object(b.member, b.claims)
	}
	input := segment(object(b.headerMember, b.header)) + "." + segment(payload)
	sum := sha256.Sum256([]byte(input))
	var signature []byte
	var err error
	switch b.sign {
	case "":
		signature = es256(t, f.own, input)
	case "ES256 by another":
		signature = es256(t, f.another, input)
	case "ES256 in DER":
		signature, err = ecdsa.SignASN1(rand.Reader, f.own, sum[:])
	case "RS256":
		signature, err = rsa.SignPKCS1v15(nil, f.rsa, crypto.SHA256, sum[:])
	case "HS256 with the public key":
		signature = hs256(jwk(t, f.own.Public()), input)
	case "HS256 with nothing":
		signature = hs256("", input)
	case "64 zeros":
		signature = make([]byte, 64)
	case "63 zeros":
		signature = make([]byte, 63)
	case "nothing":
	default:
		t.Fatalf("unknown signature %q", b.sign)
	}
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (f *forger) jwks(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{"own": jwk(t, f.own.Public()), "private": jwk(t, f.own), "another": jwk(t, f.another.Public())}
}

func members(pairs ...string) map[string]json.RawMessage {
	all := make(map[string]json.RawMessage)
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return all
}

// Threats B08 to B25; CIBA checklist A3
func TestBadAssertions(t *testing.T) {
	f := newForger(t)
	keys := json.RawMessage(`{"keys":[` + strings.Replace(f.jwks(t)["own"], "{", `{"kid":"k1",`, 1) + `]}`)
	client := provider.Client{ID: "jwt", AuthMethod: provider.AuthPrivateKeyJWT, JWKS: keys}
	disabled, refresh := client, client
	disabled.ID, disabled.Disabled = "jwt-disabled", true
	refresh.ID, refresh.GrantTypes = "jwt-refresh", []string{provider.GrantRefresh}
	for _, c := range readBadInputs(t, "assertion.txt") {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(cfg *provider.Config) { cfg.Clients = append(cfg.Clients, client, disabled, refresh) })
			now := w.clock.Now()
			seconds := strconv.FormatInt(now.Unix(), 10)
			b := &badJWT{
				header: members("alg", `"ES256"`, "kid", `"k1"`),
				claims: members("iss", `"jwt"`, "sub", `"jwt"`, "aud", strconv.Quote(issuer), "jti", `"j"`, "iat", seconds, "exp", strconv.FormatInt(now.Unix()+60, 10)),
				params: form("scope", "openid", "login_hint", "alice", "client_assertion_type", assertionType),
				status: http.StatusUnauthorized, code: "invalid_client",
			}
			for _, line := range c.lines {
				b.apply(t, line, now, nil)
			}
			if b.policy != "" {
				w.cfg.AssertionAudience = b.policy
				w.restart()
			}
			b.params.Set("client_assertion", f.compact(t, b))
			send := func(w *world) *answer { return w.do(postRequest("/backchannel-authentication", b.params.Encode())) }
			before, at := 0, w
			if b.twice != "" {
				send(w).want(t, 200, "")
				before = 1
			}
			if b.twice == "twice at another node" {
				at = w.secondNode()
			}
			a := send(at)
			a.want(t, b.status, b.code)
			checkErrorAnswer(t, a)
			pending, err := w.Pending(t.Context(), "sub-alice")
			if err != nil || (len(pending) > before) != (b.status == http.StatusOK) {
				t.Errorf("pending %d, %v", len(pending), err)
			}
		})
	}
}

// Threats T18; CIBA checklist T10
func TestBadProofs(t *testing.T) {
	f := newForger(t)
	jwks := f.jwks(t)
	for _, c := range readBadInputs(t, "proof.txt") {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			now := w.clock.Now()
			b := &badJWT{
				header: members("alg", `"ES256"`, "typ", `"dpop+jwt"`, "jwk", jwks["own"]),
				claims: members("jti", `"j"`, "htm", `"POST"`, "htu", strconv.Quote(issuer+"/token"), "iat", strconv.FormatInt(now.Unix(), 10)),
				status: http.StatusBadRequest, code: "invalid_dpop_proof", headers: 1,
			}
			for _, line := range c.lines {
				b.apply(t, line, now, jwks)
			}
			proofs := []string{""}
			if b.headers > 0 {
				proofs[0] = f.compact(t, b)
			}
			if b.headers == 2 {
				proofs = append(proofs, proofs[0])
			}
			authReqID, id := w.start()
			w.mustApprove(id)
			at := w
			if b.twice != "" {
				w.redeemWith(proofs, nil, hashOf("another request")).want(t, 400, "invalid_grant")
			}
			if b.twice == "twice at another node" {
				at = w.secondNode()
			}
			a := at.redeemWith(proofs, nil, authReqID)
			a.want(t, b.status, b.code)
			checkErrorAnswer(t, a)
			if b.status != http.StatusOK {
				w.redeemWith(nil, nil, authReqID).want(t, 200, "")
			}
		})
	}
}
