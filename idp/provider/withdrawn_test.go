package provider_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

const withdrawnDetails = `[{"type":"wire_transfer","amount":"10.00","creditor":"Bob"},{"type":"http_request","method":"POST","host":"x","target":"/"}]`

// withdraw takes a scope and a type of details from the client, or the definitions
// themselves.
func withdraw(c *provider.Config, definitions bool) {
	c.Clients = slices.Clone(c.Clients)
	if definitions {
		c.Scopes, c.DetailsTypes = nil, nil
		c.Clients[0].Scopes, c.Clients[0].DetailsTypes = []string{"profile"}, nil
		c.Clients[1].DetailsTypes = nil
		return
	}
	c.Clients[0].Scopes, c.Clients[0].DetailsTypes = []string{"profile"}, []string{"http_request"}
}

// wantLeft checks that tokens have what is left, and nothing else.
func wantLeft(t *testing.T, name string, tokens map[string]any) {
	t.Helper()
	access, _ := tokens["access_token"].(string)
	claims := decodeClaims(t, access)
	if tokens["scope"] != "openid profile" || claims["scope"] != "openid profile" || claims["aud"] != issuer || claims["customer_id"] != nil {
		t.Errorf("%s: scope %v, access token %v", name, tokens["scope"], claims)
	}
	for _, details := range []any{tokens["authorization_details"], claims["authorization_details"]} {
		list, _ := details.([]any)
		if len(list) != 1 || list[0].(map[string]any)["type"] != "http_request" {
			t.Errorf("%s: details %v", name, details)
		}
	}
}

// Threats T11: what an operator has taken from a client since the approval is in no
// token any more, and comes back with the configuration.
func TestWithdrawnScopesAndDetails(t *testing.T) {
	for _, definitions := range []bool{false, true} {
		t.Run(fmt.Sprintf("definitions %t", definitions), func(t *testing.T) {
			w := newWorld(t, func(c *provider.Config) {
				withTransfers(c)
				c.Clients[0].GrantTypes = []string{provider.GrantCIBA, provider.GrantRefresh}
			})
			before := w.cfg
			first, id := w.start("authorization_details", withdrawnDetails)
			w.mustApprove(id)
			w.clock.advance(1)
			second, id := w.start("authorization_details", withdrawnDetails)
			w.mustApprove(id)
			tokens := w.poll("gateway", second)
			tokens.want(t, 200, "")
			if tokens.str("scope") != "openid profile my_wire_transfer_scope" || len(tokens.body["authorization_details"].([]any)) != 2 {
				t.Errorf("before: %s", tokens.raw)
			}

			withdraw(&w.cfg, definitions)
			w.restart()
			w.poll("gateway", first, "scope", "my_wire_transfer_scope").want(t, 400, "invalid_scope")
			redeemed := w.poll("gateway", first)
			redeemed.want(t, 200, "")
			wantLeft(t, "redeemed", redeemed.body)
			refreshed := w.refresh("gateway", tokens.str("refresh_token"))
			refreshed.want(t, 200, "")
			wantLeft(t, "refreshed", refreshed.body)

			w.cfg = before
			w.restart()
			refreshed = w.refresh("gateway", refreshed.str("refresh_token"))
			if refreshed.str("scope") != "openid profile my_wire_transfer_scope" || len(refreshed.body["authorization_details"].([]any)) != 2 {
				t.Errorf("after: %s", refreshed.raw)
			}
		})
	}
	t.Run("pushed", func(t *testing.T) {
		w, calls := pushWorld(t, answerWith(http.StatusNoContent))
		withTransfers(&w.cfg)
		w.restart()
		_, id := w.startPush("authorization_details", withdrawnDetails)
		w.restart() // and nobody calls clients until Start
		w.mustApprove(id)
		withdraw(&w.cfg, false)
		w.restart()
		err := w.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantLeft(t, "pushed", pushed(t, nextCall(t, calls)))
	})
}
