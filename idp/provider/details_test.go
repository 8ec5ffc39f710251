package provider_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

func withTransfers(c *provider.Config) {
	c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
	c.DetailsTypes = []provider.DetailsType{{
		Name: "wire_transfer", DisplayName: "Wire transfer",
		Fields: []provider.DetailsField{
			{Name: "amount", Label: "Amount", Kind: provider.DetailAmount, Required: true},
			{Name: "currency", Kind: provider.DetailCurrency},
			{Name: "creditor", Label: "Pay to", Required: true, MaxLength: 40},
			{Name: "urgent", Kind: provider.DetailBoolean},
		},
	}}
	c.Clients[1].DetailsTypes = []string{"http_request"}
}

const digest = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"

// CIBA checklist A15
func TestAuthorizationDetails(t *testing.T) {
	w := newWorld(t, withTransfers)
	types, _ := w.get("/.well-known/openid-configuration").body["authorization_details_types_supported"].([]any)
	if len(types) != 2 || types[0] != "http_request" || types[1] != "wire_transfer" {
		t.Errorf("types: %v", types)
	}
	const details = `[ {"type":"wire_transfer", "creditor":"Müller & Söhne <GmbH>", "amount":1000.10,
		"currency":"EUR","urgent":true,"request_digest":"` + digest + `"} ]`
	authReqID, id := w.start("authorization_details", details)
	request, err := w.Request(t.Context(), "sub-alice", id)
	if err != nil || len(request.Details) != 1 {
		t.Fatalf("%+v, %v", request, err)
	}
	var shown []string
	for _, row := range request.Details[0].Rows {
		shown = append(shown, row.Label+": "+row.Value)
	}
	want := "Amount: 1000.10|currency: EUR|Pay to: Müller & Söhne <GmbH>|urgent: true|Digest: " + digest
	if request.Details[0].DisplayName != "Wire transfer" || strings.Join(shown, "|") != want {
		t.Errorf("shown: %v", shown)
	}
	w.mustApprove(id)
	// Threats T17
	for _, other := range []string{"[]", "x", `[{"type":"wire_transfer","amount":"1","creditor":"x"}]`, strings.Replace(details, "1000.10", "1000.1", 1)} {
		w.poll("gateway", authReqID, "authorization_details", other).want(t, 400, "invalid_authorization_details")
	}
	tokens := w.poll("gateway", authReqID, "authorization_details", details)
	tokens.want(t, 200, "")
	inResponse, err := json.Marshal(tokens.body["authorization_details"])
	if err != nil {
		t.Fatal(err)
	}
	inToken, err := json.Marshal(decodeClaims(t, tokens.str("access_token"))["authorization_details"])
	if err != nil || string(inToken) != string(inResponse) || !strings.Contains(string(inToken), digest) {
		t.Errorf("token %s, response %s, %v", inToken, inResponse, err)
	}
	if !strings.Contains(tokens.raw, "1000.10") {
		t.Errorf("the amount lost a digit: %s", tokens.raw)
	}
	// A type that is gone since then is still described by name.
	w.cfg.DetailsTypes = nil
	w.restart()
	request, err = w.Request(t.Context(), "sub-alice", id)
	if err != nil || request.Details[0].Type != "wire_transfer" {
		t.Errorf("%+v, %v", request, err)
	}
}

// What is refused is in testdata/badinput.
func TestDetailsThatAreTaken(t *testing.T) {
	w := newWorld(t, withTransfers)
	one := func(members string) string { return `[{"type":"wire_transfer","creditor":"Bob",` + members + `}]` }
	good := []string{
		one(`"amount":"1"`), one(`"amount":0.5`), one(`"amount":"999999999999999.00000001"`),
		`[{"type":"http_request","method":"POST","host":"api.example.com:8443","target":"/v1/t?a=b&c=%20~|^"}]`,
	}
	for _, details := range good {
		a := w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "bob", "authorization_details", details)
		if a.status != 200 {
			t.Errorf("%s: %d %s", details, a.status, a.raw)
		}
	}
	w.post("other", "/backchannel-authentication", "scope", "openid", "login_hint", "alice", "authorization_details", one(`"amount":"1"`)).
		want(t, 400, "invalid_authorization_details") // not allowed for the client
	for _, types := range [][]provider.DetailsType{
		{{Name: "a b"}}, {{Name: "a"}, {Name: "a"}}, {{Name: "a", Fields: []provider.DetailsField{{Name: "type"}}}},
		{{Name: "a", Fields: []provider.DetailsField{{}}}}, {{Name: "a", Fields: []provider.DetailsField{{Name: "x", Kind: "y"}}}},
	} {
		cfg := w.cfg
		cfg.DetailsTypes = types
		_, err := provider.New(cfg)
		if err == nil {
			t.Errorf("%+v was taken", types)
		}
	}
}
