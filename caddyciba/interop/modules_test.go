package interop_test

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A module is one of the plan's: what the provider does, and what a client must
// make of it.
type module struct {
	name string

	// only is the one mode that the module is for. Empty is both.
	only string

	// interval is what the provider asks for. 0 says nothing, which stands for 5.
	interval int

	// silent has no ping come.
	silent bool

	// start changes the answer to the authentication request and returns its
	// status.
	start func(answer map[string]any) int

	// decide returns the error of a poll, by its number, or "" for tokens. Nil is
	// what the plan does otherwise: two polls are pending, or those before a ping.
	decide func(n int) string

	// tokens changes the answer with the tokens.
	tokens func(answer map[string]any)

	// claims changes the ID Token, and sign how it is signed.
	claims func(r *run, claims map[string]any)
	sign   func(r *run, payload []byte) string

	// pingToken is shown in a ping instead of the right one.
	pingToken string

	// status and problem are what the caller gets. The resource is called with 200
	// only.
	status  int
	problem string

	// polled is how often the client may poll at most; 0 is no limit.
	polled int
}

// poll is the outcome of one poll.
func (m *module) poll(r *run, n int) string {
	switch {
	case m.decide != nil:
		return m.decide(n)
	case r.mode == "ping" && !r.pinged, r.mode == "poll" && n < 3:
		return "authorization_pending"
	default:
		return ""
	}
}

func refused(code string, status int) func(map[string]any) int {
	return func(answer map[string]any) int {
		clear(answer)
		answer["error"] = code
		return status
	}
}

func without(name string) func(map[string]any) int {
	return func(answer map[string]any) int {
		delete(answer, name)
		return 200
	}
}

// thirdPoll ends the request with an error at the third poll.
func thirdPoll(code string) func(int) string {
	return func(n int) string {
		if n < 3 {
			return "authorization_pending"
		}
		return code
	}
}

func claim(name string, value any) func(*run, map[string]any) {
	return func(_ *run, claims map[string]any) {
		if value == nil {
			delete(claims, name)
			return
		}
		claims[name] = value
	}
}

// modules are those of the profile plain_fapi. The times of the suite are cut where
// that changes nothing but how long a run takes: its interval of 31 is 7 here.
var modules = []*module{
	{name: "test", status: 200},
	{name: "valid-aud-as-array-test", status: 200, claims: claim("aud", []string{clientID})},
	{name: "no-scope-in-token-endpoint-response-test", status: 200, tokens: func(answer map[string]any) {
		delete(answer, "scope")
		delete(answer, "expires_in")
	}},
	{name: "respects-interval-test", status: 200, interval: 7},
	{name: "slow-down-test", only: "poll", status: 200, interval: 5, decide: func(n int) string {
		return []string{"authorization_pending", "slow_down", ""}[min(n, 3)-1]
	}},
	{name: "invalid-missing-authreqid-test", silent: true, start: without("auth_req_id"), status: 503, problem: "idp-unavailable"},
	{name: "invalid-missing-expiresin-test", silent: true, start: without("expires_in"), status: 503, problem: "idp-unavailable"},
	{name: "invalid-unknown-user-id-test", silent: true, start: refused("unknown_user_id", 400), status: 403, problem: "approval-unavailable"},
	{name: "invalid-request-test", only: "poll", decide: thirdPoll("invalid_request"), status: 500, problem: "gateway-misconfigured", polled: 3},
	{name: "invalid-access-denied-test", only: "poll", decide: thirdPoll("access_denied"), status: 403, problem: "approval-denied", polled: 3},
	{name: "invalid-expired-token-test", only: "poll", decide: thirdPoll("expired_token"), status: 403, problem: "approval-expired", polled: 3},

	invalidToken("invalid-iss-test", claim("iss", "https://www.example.org/other/"), nil),
	invalidToken("invalid-aud-test", claim("aud", "another-client"), nil),
	invalidToken("invalid-secondary-aud-test", claim("aud", []string{clientID, "another-client"}), nil),
	invalidToken("invalid-signature-test", nil, func(r *run, payload []byte) string {
		token := signWith(r.op.key, "suite-1", jose.PS256, payload)
		head, signature := token[:strings.LastIndex(token, ".")+1], token[strings.LastIndex(token, ".")+1:]
		raw, _ := base64.RawURLEncoding.DecodeString(signature)
		raw[10] ^= 0x5a
		return head + base64.RawURLEncoding.EncodeToString(raw)
	}),
	invalidToken("invalid-null-alg-test", nil, func(_ *run, payload []byte) string {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
	}),
	invalidToken("invalid-alternate-alg-test", nil, func(r *run, payload []byte) string {
		return signWith(r.op.otherKey, "rsa-none-alt-arg", jose.RS256, payload)
	}),
	invalidToken("invalid-expired-exp-test", func(_ *run, claims map[string]any) {
		claims["exp"] = time.Now().Add(-6 * time.Minute).Unix()
	}, nil),
	invalidToken("invalid-iat-is-week-in-past-test", func(_ *run, claims map[string]any) {
		claims["iat"] = time.Now().Add(-7 * 24 * time.Hour).Unix()
	}, nil),
	invalidToken("invalid-missing-aud-test", claim("aud", nil), nil),
	invalidToken("invalid-missing-exp-test", claim("exp", nil), nil),
	invalidToken("invalid-missing-iss-test", claim("iss", nil), nil),

	// The wrong ping must not be heard; the poll that comes by itself ends the run.
	{name: "ping-with-invalid-bearer-token-test", only: "ping", pingToken: "another-token-of-some-length", status: 200,
		decide: func(n int) string { return []string{"authorization_pending", ""}[min(n, 2)-1] }},
}

// invalidToken is a module whose ID Token must be refused.
func invalidToken(name string, claims func(*run, map[string]any), sign func(*run, []byte) string) *module {
	return &module{name: name, claims: claims, sign: sign, status: 403, problem: "approval-mismatch"}
}

// idToken is the ID Token of a run.
func (r *run) idToken() string {
	now := time.Now()
	claims := map[string]any{
		"iss": r.issuer(), "aud": clientID, "sub": "alice", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"auth_time": now.Unix(), "urn:openid:params:jwt:claim:auth_req_id": r.authReqID(),
	}
	if r.module.claims != nil {
		r.module.claims(r, claims)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		r.op.t.Error(err)
	}
	if r.module.sign != nil {
		return r.module.sign(r, payload)
	}
	return signWith(r.op.key, "suite-1", jose.PS256, payload)
}

func signWith(key *rsa.PrivateKey, kid string, alg jose.SignatureAlgorithm, payload []byte) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		return err.Error()
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return err.Error()
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		return err.Error()
	}
	return compact
}
