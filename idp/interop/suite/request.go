package suite

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// grantCIBA is the grant type of CIBA Core 1.0 section 10.1.
const grantCIBA = "urn:openid:params:grant-type:ciba"

// claims are the claims of a JWT that the suite signs.
type claims map[string]any

// without returns a change that leaves a claim out.
func without(name string) change {
	return func(r *run, q *request) { delete(q.claims, name) }
}

// with returns a change that sets a claim.
func with(name string, value any) change {
	return func(r *run, q *request) { q.claims[name] = value }
}

// at returns a change that sets a claim to a time, counted from now.
func at(name string, offset time.Duration) change {
	return func(r *run, q *request) { q.claims[name] = r.Now().Add(offset).Unix() }
}

// change turns a proper authentication request into what a module sends.
type change func(r *run, q *request)

// request is a backchannel authentication request before it is sent.
type request struct {
	client *client
	claims claims
	header map[jose.HeaderKey]any
	alg    jose.SignatureAlgorithm
	key    any

	// object is the signed request. Changes that need it run after signing.
	object string
	form   url.Values
	after  []func(q *request)

	token string // client_notification_token
}

// newRequest returns a proper request of a client.
func (r *run) newRequest(c *client, changes ...change) *request {
	r.Helper()
	now := r.Now()
	q := &request{
		client: c, alg: jose.SignatureAlgorithm(c.key.Algorithm), key: c.key.Key,
		claims: claims{
			"scope": c.Scope, c.HintType: c.HintValue, "binding_message": "1234",
			"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
			"jti": random(18), "aud": r.server.Issuer, "iss": c.ID,
		},
		header: map[jose.HeaderKey]any{"kid": c.key.KeyID},
	}
	if c.second {
		// The media type is to be compared without regard to case.
		q.header["typ"] = "OautH-auThZ-REQ+jWt"
	}
	if r.ping() {
		q.claims["client_notification_token"] = random(32)
	}
	for _, change := range changes {
		change(r, q)
	}
	q.token, _ = q.claims["client_notification_token"].(string)
	return q
}

// backchannel sends a request and returns the answer.
func (r *run) backchannel(q *request, auth ...authChange) *answer {
	r.Helper()
	q.object = r.sign(q.alg, q.key, q.header, q.claims)
	q.form = url.Values{"request": {q.object}}
	for _, after := range q.after {
		after(q)
	}
	endpoint, c := r.server.Backchannel, q.client.bare
	if r.mtls() {
		endpoint, c = r.alias("backchannel_authentication_endpoint", endpoint), q.client.http
	}
	r.authenticate(q.client, q.form, r.server.Backchannel, auth...)
	return r.post(c, endpoint, q.form)
}

// sign returns a compact JWT.
func (r *run) sign(alg jose.SignatureAlgorithm, key any, header map[jose.HeaderKey]any, c claims) string {
	r.Helper()
	payload, err := json.Marshal(c)
	if err != nil {
		r.Fatal(err)
	}
	if alg == "none" {
		head := map[string]any{"alg": "none"}
		for name, value := range header {
			head[string(name)] = value
		}
		data, err := json.Marshal(head)
		if err != nil {
			r.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{ExtraHeaders: maps.Clone(header)})
	if err != nil {
		r.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		r.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		r.Fatal(err)
	}
	return token
}

// authentication is how a client proves who it is, before it is sent.
type authentication struct {
	id     string
	aud    string
	alg    jose.SignatureAlgorithm
	absent bool
}

// authChange turns a proper authentication into what a module sends.
type authChange func(r *run, a *authentication)

func audience(aud string) authChange { return func(_ *run, a *authentication) { a.aud = aud } }

func assertionAlg(alg jose.SignatureAlgorithm) authChange {
	return func(_ *run, a *authentication) { a.alg = alg }
}

func noAssertion(_ *run, a *authentication) { a.absent = true }

func clientID(id string) authChange { return func(_ *run, a *authentication) { a.id = id } }

// authenticate puts the client's authentication into a form. With mtls that is
// only its id: the certificate is the connection's.
func (r *run) authenticate(c *client, form url.Values, endpoint string, changes ...authChange) {
	r.Helper()
	a := &authentication{id: c.ID, aud: endpoint, alg: jose.SignatureAlgorithm(c.key.Algorithm)}
	for _, change := range changes {
		change(r, a)
	}
	if r.mtls() || a.absent {
		form.Set("client_id", a.id)
		return
	}
	now := r.Now()
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", r.sign(a.alg, c.key.Key, map[jose.HeaderKey]any{"kid": c.key.KeyID}, claims{
		"iss": a.id, "sub": a.id, "aud": a.aud, "jti": random(18), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}))
}

// random returns a random text of n bytes in base64url.
func random(n int) string {
	data := make([]byte, n)
	_, _ = rand.Read(data) // never returns an error
	return base64.RawURLEncoding.EncodeToString(data)
}

// decide approves or denies in the user's place. Action is allow or deny.
func (r *run) decide(authReqID, action string) {
	r.Helper()
	address := strings.NewReplacer(
		"{auth_req_id}", url.QueryEscape(authReqID), "{action}", url.QueryEscape(action),
	).Replace(r.Config.ApprovalURL)
	a := r.post(r.first.http, address, nil)
	if a.status < 200 || a.status > 299 {
		r.Fatalf("approval URL answers %d: %s", a.status, a.body)
	}
}
