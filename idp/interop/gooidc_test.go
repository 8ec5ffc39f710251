package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/caddyciba/gateway/idp/provider"
)

// TestGoOIDC has go-oidc, as the gateway and most relying parties in Go use it,
// judge our discovery document, our keys and our ID Tokens of every algorithm.
func TestGoOIDC(t *testing.T) {
	algs := []string{"ES256", "PS256", "EdDSA", "RS256"}
	const secret = "the-secret-of-a-relying-party"
	s := newSite(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 100, 10
		c.Interval = time.Second
		for _, alg := range algs {
			c.Clients = append(c.Clients, provider.Client{
				ID: "rp-" + alg, IDTokenSigningAlg: alg, Scopes: []string{"email"},
				SecretHashes: []provider.SecretHash{provider.HashSecret(secret)},
			})
		}
	}, decideByMessage(t))
	ctx := oidc.ClientContext(context.Background(), s.client)
	op, err := oidc.NewProvider(ctx, s.issuer)
	if err != nil {
		t.Fatal(err)
	}
	var metadata struct {
		Backchannel string   `json:"backchannel_authentication_endpoint"`
		Modes       []string `json:"backchannel_token_delivery_modes_supported"`
	}
	err = op.Claims(&metadata)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(metadata.Backchannel, s.issuer+"/") || !slices.Contains(metadata.Modes, "poll") {
		t.Fatalf("metadata of CIBA: %+v", metadata)
	}
	for _, alg := range algs {
		t.Run(alg, func(t *testing.T) {
			p := &party{t: t, site: s, id: "rp-" + alg, secret: secret, backchannel: metadata.Backchannel, token: op.Endpoint().TokenURL}
			tokens := p.authenticate()
			verifier := op.VerifierContext(ctx, &oidc.Config{ClientID: p.id, SupportedSigningAlgs: []string{alg}})
			idToken, err := verifier.Verify(ctx, tokens.IDToken)
			if err != nil {
				t.Fatal(err)
			}
			if idToken.Subject != "sub-alice" || idToken.Issuer != s.issuer || time.Since(idToken.IssuedAt).Abs() > time.Minute {
				t.Errorf("ID Token: %+v", idToken)
			}
			err = idToken.VerifyAccessToken(tokens.AccessToken)
			if err != nil {
				t.Errorf("at_hash: %v", err)
			}
			p.mustRefuse(ctx, op, tokens, alg)
		})
	}
}

// mustRefuse makes sure that the judge is awake.
func (p *party) mustRefuse(ctx context.Context, op *oidc.Provider, tokens *partyTokens, alg string) {
	p.t.Helper()
	other := map[string]string{"ES256": "PS256", "PS256": "ES256", "EdDSA": "ES256", "RS256": "ES256"}[alg]
	forged := []byte(tokens.IDToken)
	dot := strings.LastIndexByte(tokens.IDToken, '.')
	forged[dot+1] ^= 1
	bad := []struct {
		name  string
		cfg   oidc.Config
		token string
	}{
		{"another client", oidc.Config{ClientID: "rp-other", SupportedSigningAlgs: []string{alg}}, tokens.IDToken},
		{"another algorithm", oidc.Config{ClientID: p.id, SupportedSigningAlgs: []string{other}}, tokens.IDToken},
		{"later", oidc.Config{
			ClientID: p.id, SupportedSigningAlgs: []string{alg}, Now: func() time.Time { return time.Now().Add(time.Hour) },
		}, tokens.IDToken},
		{"another signature", oidc.Config{ClientID: p.id, SupportedSigningAlgs: []string{alg}}, string(forged)},
		{"the access token", oidc.Config{ClientID: p.id, SupportedSigningAlgs: []string{alg}}, tokens.AccessToken},
	}
	for _, c := range bad {
		_, err := op.VerifierContext(ctx, &c.cfg).Verify(ctx, c.token)
		if err == nil {
			p.t.Errorf("go-oidc takes the ID Token for %s", c.name)
		}
	}
}

// party is a relying party with client_secret_basic, as plain as can be.
type party struct {
	t                  testing.TB
	site               *site
	id, secret         string
	backchannel, token string
}

// partyTokens is a token response.
type partyTokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	IDToken      string `json:"id_token"`
	RefreshToken string `json:"refresh_token"`
}

// authenticate asks for alice and returns the tokens.
func (p *party) authenticate() *partyTokens {
	p.t.Helper()
	var started struct {
		AuthReqID string `json:"auth_req_id"`
	}
	err := p.post(p.backchannel, url.Values{
		"scope": {"openid email"}, "login_hint": {"alice"}, "binding_message": {userApproves},
	}, &started)
	if err != nil {
		p.t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		var tokens partyTokens
		err = p.post(p.token, url.Values{"grant_type": {provider.GrantCIBA}, "auth_req_id": {started.AuthReqID}}, &tokens)
		if err == nil {
			return &tokens
		}
		if !errors.Is(err, errNotYet) || time.Now().After(deadline) {
			p.t.Fatal(err)
		}
	}
}

// errNotYet says that the user has not decided.
var errNotYet = errors.New("not decided yet")

// post sends a form and decodes the answer. It asks for polls to be held.
func (p *party) post(endpoint string, form url.Values, into any) error {
	r, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Prefer", "wait=5")
	r.SetBasicAuth(url.QueryEscape(p.id), url.QueryEscape(p.secret))
	response, err := p.site.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	switch {
	case response.StatusCode == http.StatusOK:
		return json.Unmarshal(body, into)
	case strings.Contains(string(body), "authorization_pending"):
		return errNotYet
	}
	return errors.New(response.Status + ": " + string(body))
}
