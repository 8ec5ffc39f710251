package provider_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// policyFunc is a policy that is a function.
type policyFunc func(r *provider.PolicyRequest) error

func (f policyFunc) Check(_ context.Context, r *provider.PolicyRequest) error { return f(r) }

// CIBA checklist A14, A16, A17
func TestPolicies(t *testing.T) {
	var seen *provider.PolicyRequest
	var answers [2]error
	w := newWorld(t, func(c *provider.Config) {
		withTransfers(c)
		c.ACRValues = []string{"phr"}
		c.ClientIP = func(*http.Request) string { return "192.0.2.7" }
		for i := range answers {
			c.Policies = append(c.Policies, policyFunc(func(r *provider.PolicyRequest) error {
				seen = r
				return answers[i]
			}))
		}
	})
	const details = `[{"type":"wire_transfer","amount":"10.00","creditor":"Bob"}]`
	const circumstances = `{"ip":"198.51.100.1"}`
	ask := func() *answer {
		return w.post("gateway", backchannel, "scope", "openid my_wire_transfer_scope", "login_hint", "alice", "binding_message", "hello",
			"acr_values", "phr other", "authorization_details", details, "request_context", circumstances, "requested_expiry", "30",
			"resource", "https://bank.example.com", "branch", "4711", "empty", "")
	}
	ask().want(t, 200, "")
	want := &provider.PolicyRequest{
		Client: provider.ClientInfo{ID: "gateway", Name: "Example Bank"}, User: seen.User,
		Scopes: []string{"openid", "my_wire_transfer_scope"}, Resources: []string{"https://bank.example.com"}, ACRValues: []string{"phr"},
		BindingMessage: "hello", AuthorizationDetails: seen.AuthorizationDetails, Context: []byte(circumstances),
		Lifetime: 30 * time.Second, Source: "192.0.2.7", Received: w.clock.Now(), Parameters: map[string]string{"branch": "4711"},
	}
	if !reflect.DeepEqual(seen, want) || seen.User.ID != "sub-alice" || !strings.Contains(string(seen.AuthorizationDetails), `"10.00"`) {
		t.Errorf("policy was asked about %+v", seen)
	}
	for _, row := range []struct {
		err    error
		status int
		code   string
		text   string
	}{
		{&provider.Refusal{}, 403, "access_denied", ""},
		{&provider.Refusal{Description: "Not at night."}, 403, "access_denied", "Not at night."},
		{&provider.Refusal{Code: "invalid_request", Description: `"quoted"`}, 400, "invalid_request", ""},
		{&provider.Refusal{Code: "invalid_binding_message"}, 400, "invalid_binding_message", ""},
		{&provider.Refusal{Code: "nonsense"}, 500, "server_error", "The service made a mistake."},
		{errors.New("risk engine is down"), 503, "temporarily_unavailable", "The service can not answer now. Try again later."},
	} {
		for i := range answers {
			answers = [2]error{}
			answers[i] = row.err
			a := ask()
			a.want(t, row.status, row.code)
			checkErrorAnswer(t, a)
			if a.str("error_description") != row.text {
				t.Errorf("%v: %s", row.err, a.raw)
			}
		}
	}
	pending, err := w.Pending(t.Context(), "sub-alice")
	if err != nil || len(pending) != 1 {
		t.Errorf("pending: %d, %v", len(pending), err)
	}
	// A request that is refused for another reason is no matter for policies.
	seen = nil
	w.post("gateway", backchannel, "scope", "openid", "login_hint", "nobody").want(t, 400, "unknown_user_id")
	w.post("gateway", backchannel, "scope", "openid", "login_hint", "alice", "binding_message", "a\nb").want(t, 400, "invalid_binding_message")
	if seen != nil {
		t.Errorf("policy was asked about %+v", seen)
	}
	for _, code := range provider.RefusalCodes() {
		answers = [2]error{&provider.Refusal{Code: code}}
		a := ask()
		if a.str("error") != code || a.status != 400 && a.status != 403 {
			t.Errorf("%s: %d %s", code, a.status, a.raw)
		}
	}
}

// Policies see whether a request was signed, and what else its signer says.
func TestPoliciesOfSignedRequests(t *testing.T) {
	f := newForger(t)
	w := signedWorld(t, f, nil)
	var seen *provider.PolicyRequest
	w.cfg.Policies = []provider.Policy{policyFunc(func(r *provider.PolicyRequest) error {
		seen = r
		return nil
	})}
	w.restart()
	b := goodRequest(w)
	b.claims["branch"], b.claims["number"] = []byte(`"4711"`), []byte("1")
	w.sendRequest(f, b).want(t, 200, "")
	if !seen.Signed || !reflect.DeepEqual(seen.Parameters, map[string]string{"branch": "4711"}) {
		t.Errorf("policy was asked about %+v", seen)
	}
}

// resolverFunc is a hint resolver that is a function.
type resolverFunc func(h *provider.Hint, users provider.UserStore) (*provider.User, error)

func (f resolverFunc) Resolve(_ context.Context, h *provider.Hint, users provider.UserStore) (*provider.User, error) {
	return f(h, users)
}

func TestHintResolver(t *testing.T) {
	hints := newES256(t, "hints")
	var seen *provider.Hint
	w := newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
		c.HintIssuers = []provider.HintIssuer{{Issuer: "https://crm.example", JWKS: hints.jwks(t), Claim: "login"}}
		c.HintResolver = resolverFunc(func(h *provider.Hint, users provider.UserStore) (*provider.User, error) {
			seen = h
			switch {
			case h.Login == "not now":
				return nil, &provider.Refusal{Description: "Not now."}
			case h.Login == "broken":
				return nil, errors.New("directory is down")
			case h.Login == "nil":
				return nil, nil
			case h.Subject != "":
				return users.BySubject(t.Context(), h.Subject)
			}
			return users.ByLogin(t.Context(), strings.TrimPrefix(h.Login, "acct:"))
		})
	})
	authReqID, id := w.start("binding_message", "x")
	w.mustApprove(id)
	idToken := w.poll("gateway", authReqID).str("id_token")
	w.ask("gateway", "acct:alice").want(t, 200, "")
	if seen.Kind != provider.HintLogin || seen.Login != "acct:alice" || seen.Client.ID != "gateway" || seen.Claims != nil {
		t.Errorf("hint %+v", seen)
	}
	w.ask("gateway", "acct:nobody").want(t, 400, "unknown_user_id")
	w.ask("gateway", "carol").want(t, 400, "unknown_user_id") // disabled, whoever has found her
	w.ask("gateway", "nil").want(t, 400, "unknown_user_id")
	w.ask("gateway", "not now").want(t, 403, "access_denied")
	w.ask("gateway", "broken").want(t, 503, "temporarily_unavailable")
	w.hint("gateway", "id_token_hint", idToken).want(t, 200, "")
	if seen.Kind != provider.HintIDToken || seen.Subject != "sub-alice" {
		t.Errorf("hint %+v", seen)
	}
	now := w.clock.Now().Unix()
	token := hints.sign(t, map[string]any{"iss": "https://crm.example", "aud": issuer, "exp": now + 60, "login": "alice", "branch": "4711"}, nil)
	w.hint("gateway", "login_hint_token", token).want(t, 200, "")
	if seen.Kind != provider.HintToken || seen.Login != "alice" || !strings.Contains(string(seen.Claims), `"branch":"4711"`) {
		t.Errorf("hint %+v", seen)
	}
}

func TestStaticUsersByClaim(t *testing.T) {
	all, err := provider.NewStaticUsers([]provider.User{
		{ID: "1", Username: "a", Name: "A", Claims: map[string]any{"phone_number": "+1", "numbers": []any{"7", "8"}, "n": 1}},
		{ID: "2", Username: "b", Claims: map[string]any{"phone_number": "+1", "numbers": []string{"8"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, value, want string }{
		{"phone_number", "+1", "1 2"}, {"phone_number", "+2", ""}, {"numbers", "7", "1"}, {"numbers", "8", "1 2"}, {"n", "1", ""},
		{"name", "A", "1"}, {"preferred_username", "b", "2"}, {"nothing", "", ""},
	} {
		users, err := all.ByClaim(t.Context(), row.name, row.value)
		var ids []string
		for _, u := range users {
			ids = append(ids, u.ID)
		}
		slices.Sort(ids)
		if err != nil || strings.Join(ids, " ") != row.want {
			t.Errorf("%s=%s: %v, %v", row.name, row.value, ids, err)
		}
	}
}

// claimsFunc is a source of claims that is a function.
type claimsFunc func(r *provider.ClaimsRequest) (map[string]any, error)

func (f claimsFunc) Claims(_ context.Context, r *provider.ClaimsRequest) (map[string]any, error) {
	return f(r)
}

func TestClaimsSource(t *testing.T) {
	var broken error
	var uses []string
	w := newWorld(t, func(c *provider.Config) {
		c.ClaimsSource = claimsFunc(func(r *provider.ClaimsRequest) (map[string]any, error) {
			uses = append(uses, r.Use)
			if r.User.ID != "sub-alice" || r.Client.Name != "Example Bank" || len(r.Names) == 0 || len(r.Scopes) == 0 {
				t.Errorf("asked for %+v", r)
			}
			return map[string]any{"customer_id": "C-2", "name": "Alice from elsewhere", "email": "not@asked.example", "sub": "evil", "iss": "evil"}, broken
		})
	})
	authReqID, id := w.start()
	w.mustApprove(id)
	broken = errors.New("down")
	w.poll("gateway", authReqID).want(t, 503, "temporarily_unavailable")
	broken = nil
	tokens := w.poll("gateway", authReqID) // nothing was used up
	tokens.want(t, 200, "")
	claims := decodeClaims(t, tokens.str("access_token"))
	if claims["customer_id"] != "C-2" || claims["sub"] != "sub-alice" || claims["iss"] != issuer || claims["name"] != nil {
		t.Errorf("access token %v", claims)
	}
	info := userinfo(w, tokens.str("access_token"))
	if info.str("name") != "Alice from elsewhere" || info.str("preferred_username") != "alice" || info.str("sub") != "sub-alice" || info.str("email") != "" {
		t.Errorf("userinfo %s", info.raw)
	}
	broken = errors.New("down")
	userinfo(w, tokens.str("access_token")).want(t, 503, "temporarily_unavailable")
	if strings.Join(uses, " ") != "access_token access_token userinfo userinfo" {
		t.Errorf("uses %v", uses)
	}
}
