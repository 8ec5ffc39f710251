package provider_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

const backchannel = "/backchannel-authentication"

// CIBA checklist A1
func TestBackchannelTakesFormPosts(t *testing.T) {
	w := newWorld(t, nil)
	body := form("scope", "openid", "login_hint", "alice").Encode()
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post"} {
		r := httptest.NewRequest(method, issuer+backchannel, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("gateway", secret1)
		a := w.do(r)
		a.want(t, http.StatusMethodNotAllowed, "invalid_request")
		checkErrorAnswer(t, a)
	}
	for _, contentType := range []string{"", "application/json", "text/plain", "multipart/form-data; boundary=x"} {
		r := postRequest(backchannel, body)
		r.Header.Set("Content-Type", contentType)
		r.SetBasicAuth("gateway", secret1)
		a := w.do(r)
		a.want(t, http.StatusBadRequest, "invalid_request")
		checkErrorAnswer(t, a)
	}
	pending, err := w.Pending(t.Context(), "sub-alice")
	if err != nil || len(pending) != 0 {
		t.Errorf("pending: %d, %v", len(pending), err)
	}
	w.post("gateway", backchannel, "scope", "openid", "login_hint", "alice").want(t, 200, "")
}

// CIBA checklist A4
func TestParametersSentTwice(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50 })
	base := "scope=openid+my_wire_transfer_scope&login_hint=alice"
	for _, name := range []string{
		"scope", "login_hint", "login_hint_token", "id_token_hint", "binding_message", "acr_values", "requested_expiry",
		"user_code", "client_notification_token", "request", "request_context", "authorization_details",
		"client_id", "client_assertion", "client_assertion_type", "client_secret", "unknown",
	} {
		for _, twice := range []string{"&" + name + "=1&" + name + "=1", "&" + name + "=1&" + name + "=2", "&" + name + "=&" + name + "=1"} {
			r := postRequest(backchannel, base+twice)
			r.SetBasicAuth("gateway", secret1)
			a := w.do(r)
			if a.status != 400 || a.str("error") != "invalid_request" {
				t.Errorf("%s: %d %s", twice, a.status, a.raw)
			}
		}
	}
	r := postRequest(backchannel, base+"&resource=https://bank.example.com&resource=https://bank.example.com")
	r.SetBasicAuth("gateway", secret1)
	w.do(r).want(t, 200, "")
}

// CIBA checklist A5
func TestScope(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50 })
	for scope, code := range map[string]string{
		"openid": "", "openid profile": "", "profile openid": "", "email openid profile": "",
		"": "invalid_request", "profile": "invalid_request", "OpenID": "invalid_request",
		"openid nonsense": "invalid_scope", "openid phone": "invalid_scope", "openid  profile": "invalid_scope",
	} {
		status := 200
		if code != "" {
			status = 400
		}
		a := w.post("gateway", backchannel, "scope", scope, "login_hint", "alice")
		if a.status != status || a.str("error") != code {
			t.Errorf("scope %q: %d %s", scope, a.status, a.raw)
		}
	}
}

// CIBA checklist A6
func TestExactlyOneHint(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start()
	w.mustApprove(id)
	hints := map[string]string{"login_hint": "alice", "login_hint_token": "a.b.c", "id_token_hint": w.poll("gateway", authReqID).str("id_token")}
	names := []string{"login_hint", "login_hint_token", "id_token_hint"}
	for given := range 1 << len(names) {
		params := []string{"scope", "openid"}
		count := 0
		for i, name := range names {
			if given&(1<<i) != 0 {
				params = append(params, name, hints[name])
				count++
			}
		}
		if count == 1 {
			continue
		}
		a := w.post("gateway", backchannel, params...)
		if a.status != 400 || a.str("error") != "invalid_request" {
			t.Errorf("%v: %d %s", params, a.status, a.raw)
		}
	}
	// An empty hint is none.
	w.post("gateway", backchannel, "scope", "openid", "login_hint", "alice", "id_token_hint", "", "login_hint_token", "").want(t, 200, "")
	w.post("gateway", backchannel, "scope", "openid", "login_hint", "").want(t, 400, "invalid_request")
}

// CIBA checklist A11: what is taken is shown to the last character.
func TestBindingMessageIsShownAsItIs(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 100, 100 })
	for _, message := range []string{
		"1234", "Pay 1,000.00 USD to Bob & Sons (ref. 7/2026)", "Zahle 100,00 € an Müller: Miete", "Paga 5 € à François – nº 12",
		"向山田太郎支付 ¥1,200", "Перевести 500 ₽ Ивану", "שלם 50 ₪ לדוד", "ادفع ٥٠ د.إ إلى أحمد", "ไทย ๕๐ บาท", "नमस्ते ₹500",
		"{{.}} {env.HOME} ${jndi:x}", "W4SCT", " a  b ", strings.Repeat("é", 128),
	} {
		a := w.post("gateway", backchannel, "scope", "openid", "login_hint", "alice", "binding_message", message)
		if a.status != 200 {
			t.Errorf("%q: %d %s", message, a.status, a.raw)
			continue
		}
		request, err := w.Request(t.Context(), "sub-alice", hashOf(a.str("auth_req_id")))
		if err != nil || request.BindingMessage != message {
			t.Errorf("%q is shown as %q, %v", message, request.BindingMessage, err)
		}
	}
	before, err := w.Pending(t.Context(), "sub-alice")
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{
		strings.Repeat("é", 129), "1234 👍🏿 品川 Lorem", "a\u202eb", "a\nb", "a\u200bb", "a\tb", "<b>", "u\u0308",
	} {
		w.post("gateway", backchannel, "scope", "openid", "login_hint", "alice", "binding_message", message).want(t, 400, "invalid_binding_message")
	}
	after, err := w.Pending(t.Context(), "sub-alice")
	if err != nil || len(after) != len(before) {
		t.Errorf("%d are pending, then %d, %v", len(before), len(after), err)
	}
}

// CIBA checklist A13
func TestUnknownParametersAreIgnored(t *testing.T) {
	w := newWorld(t, nil)
	w.post("gateway", backchannel, "scope", "openid", "login_hint", "alice",
		"nonsense", "1", "response_type", "code", "redirect_uri", "https://evil.example", "max_age", "0", "x", "").want(t, 200, "")
	w.post("gateway", backchannel, "scope", "openid", "login_hint", "alice", "request_uri", "https://evil.example/r").want(t, 400, "invalid_request")
}

// CIBA checklist A16: of two faults the one that is looked for first is told, and the
// user is told of nothing that is not in the store.
func TestOrderOfWork(t *testing.T) {
	told := make(chan string, 10)
	w := newWorld(t, func(c *provider.Config) {
		c.CompareUserCode = func(_, _ []byte) (bool, error) { return false, nil }
		c.Clients[0].UserCode, c.Clients[0].RequestSigningAlg, c.Clients[0].JWKS = true, "ES256", newES256(t, "k").jwks(t)
		c.Clients[1].UserCode = true
		inner := c.Store
		c.Notify = func(_ context.Context, r *provider.Request) {
			stored, err := inner.Get(t.Context(), "idp.request", r.ID)
			if err != nil || stored == nil {
				t.Errorf("told of what is not stored: %v", err)
			}
			told <- r.ID
		}
	})
	all, err := provider.NewStaticUsers([]provider.User{
		{ID: "sub-alice", Username: "alice", UserCodeHash: "x"}, {ID: "sub-bob", Username: "bob"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.users.all = all
	fault := func(client, secret string, params ...string) *answer {
		r := postRequest(backchannel, form(params...).Encode())
		r.SetBasicAuth(client, secret)
		return w.do(r)
	}
	// The client, before the signed request.
	fault("gateway", "wrong", "scope", "nonsense").want(t, 401, "invalid_client")
	// The signed request, before the parameters.
	fault("gateway", secret1, "scope", "nonsense").want(t, 400, "invalid_request")
	// The parameters, before the hint is followed.
	fault("other", secret2, "scope", "openid nonsense", "login_hint", "nobody", "user_code", "1").want(t, 400, "invalid_scope")
	fault("other", secret2, "scope", "openid", "login_hint", "nobody", "user_code", "1", "binding_message", "a\nb").want(t, 400, "invalid_binding_message")
	// The hint, before the user code.
	fault("other", secret2, "scope", "openid", "login_hint", "nobody").want(t, 400, "unknown_user_id")
	fault("other", secret2, "scope", "openid", "login_hint", "alice").want(t, 400, "missing_user_code")
	fault("other", secret2, "scope", "openid", "login_hint", "alice", "user_code", "1").want(t, 400, "invalid_user_code")
	// The store, before the notification.
	a := fault("other", secret2, "scope", "openid", "login_hint", "bob")
	a.want(t, 200, "")
	if id := <-told; id != hashOf(a.str("auth_req_id")) {
		t.Errorf("told of %s", id)
	}
	for _, subject := range []string{"sub-alice", "sub-bob"} {
		pending, err := w.Pending(t.Context(), subject)
		if err != nil || len(pending) != map[string]int{"sub-bob": 1}[subject] {
			t.Errorf("%s: %d pending, %v", subject, len(pending), err)
		}
	}
}

// CIBA checklist C6: a subject is the same for all clients, and the metadata say so.
func TestSubjectsArePublic(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.Clients[1].Scopes = c.Clients[0].Scopes })
	types, _ := w.get("/.well-known/openid-configuration").body["subject_types_supported"].([]any)
	if !slices.Equal(types, []any{"public"}) {
		t.Errorf("subject types %v", types)
	}
	for _, client := range []string{"gateway", "other"} {
		a := w.post(client, backchannel, "scope", "openid", "login_hint", "alice")
		approval := w.approval(hashOf(a.str("auth_req_id")))
		approval.Scopes = []string{"openid"}
		err := w.Approve(t.Context(), approval)
		if err != nil {
			t.Fatal(err)
		}
		sub := decodeClaims(t, w.poll(client, a.str("auth_req_id")).str("id_token"))["sub"]
		if sub != "sub-alice" {
			t.Errorf("%s gets the subject %v", client, sub)
		}
	}
}
