package interop_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddyciba/gateway/caddyciba/porttest"
)

// quirky is a stand-in for a product that cannot run here. It has the endpoints of
// that product and refuses what the product refuses, so that the example for it is
// known to speak as the product wants it. It approves everything else.
type quirky struct {
	// ciba, token and keys are the paths of the endpoints, below the issuer's.
	issuer, ciba, token, keys string

	// metadata are further members of the discovery document.
	metadata map[string]any

	// refuse says what is wrong with an authentication request, or nothing.
	refuse func(form url.Values) string

	// client says whether the client has shown who it is.
	client func(r *http.Request, issuer string) bool

	// claims are those of the ID Token, beside the protocol's.
	claims func(form url.Values) map[string]any

	env func(server *httptest.Server) map[string]string
}

const debtor = "auth0|64b8f00d"

// quirks are the products with what is known of them.
var quirks = map[string]quirky{
	"keycloak": {
		issuer: "/realms/bank", ciba: "/protocol/openid-connect/ext/ciba/auth", token: "/protocol/openid-connect/token", keys: "/protocol/openid-connect/certs",
		refuse: func(form url.Values) string {
			switch {
			case !regexp.MustCompile(`^[a-zA-Z0-9-._+/!?#]{1,50}$`).MatchString(form.Get("binding_message")):
				return "invalid_binding_message"
			case form.Has("user_code"), form.Get("login_hint") != debtor:
				return "invalid_request"
			}
			return ""
		},
		client: basicAuth,
		claims: func(form url.Values) map[string]any {
			return map[string]any{"sub": "0a3c1f6e-5a9f-4d55-9a5f-2f0f1c9b7a11", "preferred_username": form.Get("login_hint")}
		},
		env: func(server *httptest.Server) map[string]string {
			return map[string]string{"KEYCLOAK_REALM": server.URL + "/realms/bank"}
		},
	},
	"duende": {
		ciba: "/connect/ciba", token: "/connect/token", keys: "/.well-known/openid-configuration/jwks",
		metadata: map[string]any{"backchannel_user_code_parameter_supported": true},
		refuse: func(form url.Values) string {
			for name, values := range form {
				if name != "client_assertion" && len(values[0]) > 100 { // its InputLengthRestrictions
					return "invalid_request"
				}
			}
			if !regexp.MustCompile(`^[1-9][0-9]*$`).MatchString(form.Get("requested_expiry")) || form.Has("authorization_details") {
				return "invalid_request"
			}
			return ""
		},
		client: privateKeyJWT,
		claims: func(form url.Values) map[string]any { return map[string]any{"sub": form.Get("login_hint")} },
		env:    func(server *httptest.Server) map[string]string { return map[string]string{"DUENDE_ISSUER": server.URL} },
	},
	"auth0": {
		issuer: "/", ciba: "bc-authorize", token: "oauth/token", keys: ".well-known/jwks.json",
		refuse: func(form url.Values) string {
			var hint struct{ Format, Iss, Sub string }
			err := json.Unmarshal([]byte(form.Get("login_hint")), &hint)
			switch {
			case err != nil || hint.Format != "iss_sub" || !strings.HasPrefix(hint.Iss, "https://") || !strings.HasSuffix(hint.Iss, "/") || hint.Sub != debtor:
				return "invalid_request"
			case !regexp.MustCompile(`^[a-zA-Z0-9 +\-_.,:#]{1,64}$`).MatchString(form.Get("binding_message")):
				return "invalid_binding_message"
			case form.Get("audience") != "https://api.example.com/", !regexp.MustCompile(`^([1-9][0-9]?|[12][0-9]{2}|300)$`).MatchString(form.Get("requested_expiry")):
				return "invalid_request"
			}
			return ""
		},
		client: secretInForm,
		claims: func(url.Values) map[string]any { return map[string]any{"sub": debtor} },
		env: func(server *httptest.Server) map[string]string {
			return map[string]string{"AUTH0_DOMAIN": strings.TrimPrefix(server.URL, "https://")}
		},
	},
}

func basicAuth(r *http.Request, _ string) bool {
	id, secret, ok := r.BasicAuth()
	return ok && id == "gateway" && secret == "an-example-secret" && !r.PostForm.Has("client_secret")
}

func secretInForm(r *http.Request, _ string) bool {
	return r.Header.Get("Authorization") == "" && r.PostForm.Get("client_id") == "gateway" && r.PostForm.Get("client_secret") == "an-example-secret"
}

func privateKeyJWT(r *http.Request, issuer string) bool {
	var key jose.JSONWebKey
	err := json.Unmarshal([]byte(os.Getenv("DUENDE_KEY")), &key)
	if err != nil || r.PostForm.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return false
	}
	token, err := jwt.ParseSigned(r.PostForm.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return false
	}
	var claims jwt.Claims
	err = token.Claims(key.Public(), &claims)
	if err != nil {
		return false
	}
	return claims.Issuer == "gateway" && claims.Subject == "gateway" && claims.Audience.Contains(issuer) && claims.ID != ""
}

// serve runs the product. It writes down the authentication requests.
func (q quirky) serve(t *testing.T, secure bool) (*httptest.Server, func() []url.Values) {
	t.Helper()
	signing := jose.JSONWebKey{Key: newECKey(t), KeyID: "k1", Algorithm: "ES256", Use: "sig"}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: signing}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked []url.Values
	var server *httptest.Server
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		issuer := server.URL + q.issuer
		_ = r.ParseForm()
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case strings.TrimSuffix(q.issuer, "/") + "/.well-known/openid-configuration":
			document := map[string]any{
				"issuer": issuer, "jwks_uri": issuer + q.keys, "token_endpoint": issuer + q.token,
				"backchannel_authentication_endpoint":        issuer + q.ciba,
				"backchannel_token_delivery_modes_supported": []string{"poll"},
				"grant_types_supported":                      []string{"urn:openid:params:grant-type:ciba"},
				"id_token_signing_alg_values_supported":      []string{"ES256"},
				"token_endpoint_auth_methods_supported":      []string{"client_secret_basic", "client_secret_post", "private_key_jwt"},
			}
			for name, value := range q.metadata {
				document[name] = value
			}
			send(w, http.StatusOK, document)
		case q.issuer + q.keys:
			send(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{signing.Public()}})
		case q.issuer + q.ciba:
			asked = append(asked, r.PostForm)
			refused := q.refuse(r.PostForm)
			switch {
			case !q.client(r, issuer):
				send(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
			case !strings.Contains(" "+r.PostForm.Get("scope")+" ", " openid "):
				send(w, http.StatusBadRequest, map[string]any{"error": "invalid_scope"})
			case refused != "":
				send(w, http.StatusBadRequest, map[string]any{"error": refused})
			default:
				send(w, http.StatusOK, map[string]any{"auth_req_id": "req-1", "expires_in": 120, "interval": 5})
			}
		case q.issuer + q.token:
			if !q.client(r, issuer) || r.PostForm.Get("auth_req_id") != "req-1" {
				send(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
				return
			}
			now := time.Now()
			claims := q.claims(asked[len(asked)-1])
			for name, value := range map[string]any{"iss": issuer, "aud": "gateway", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "auth_time": now.Unix()} {
				claims[name] = value
			}
			token, err := jwt.Signed(signer).Claims(claims).Serialize()
			if err != nil {
				t.Error(err)
			}
			send(w, http.StatusOK, map[string]any{"access_token": "at-1", "token_type": "Bearer", "expires_in": 60, "id_token": token})
		default:
			http.NotFound(w, r)
		}
	})
	server = httptest.NewUnstartedServer(handler)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server, func() []url.Values {
		mu.Lock()
		defer mu.Unlock()
		return append([]url.Values(nil), asked...)
	}
}

// TestExampleQuirks runs the examples for Keycloak, Duende and Auth0 against stand-ins
// that want of a request what these products do.
func TestExampleQuirks(t *testing.T) {
	for name, q := range quirks {
		t.Run(name, func(t *testing.T) {
			secure := name == "auth0" // its example has https in it
			server, asked := q.serve(t, secure)
			bank := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, r.Header.Get("Authorization"))
			}))
			defer bank.Close()
			site := porttest.Reserve(t)
			env := q.env(server)
			env["SITE"], env["UPSTREAM"] = "http://"+site, strings.TrimPrefix(bank.URL, "http://")
			env["CALLER_HASH"] = "$2a$04$8HU6/g6GGDLnD4GPHUz7cOBby73eqUQU6/PbSYfSDaGKbCzmfk0f6"
			setEnvironment(t, filepath.Join(examples, name, "example.env"), env)
			content, err := os.ReadFile(filepath.Join(examples, name, "Caddyfile"))
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(string(content), "{\n\tciba {\n", "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tciba {\n\t\tstore memory\n", 1)
			if secure {
				authority := filepath.Join(t.TempDir(), "ca.pem")
				err = os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600)
				if err != nil {
					t.Fatal(err)
				}
				text = strings.Replace(text, "\t\t\tclient_auth ", "\t\t\ttrust_pool file "+authority+"\n\t\t\tclient_auth ", 1)
			}
			config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
			if err == nil {
				err = caddy.Load(config, true)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = caddy.Stop() }()
			body := fmt.Sprintf(`{"debtor":%q,"amount":"12.50","currency":"EUR","creditor":"Danny Ocean"}`, debtor)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+site+"/transfers", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.SetBasicAuth("teller", "secret")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusCreated || string(answer) != "Bearer at-1" {
				t.Errorf("got %d %s; the provider was asked %v", resp.StatusCode, answer, asked())
			}
			if requests := asked(); len(requests) != 1 || !strings.Contains(requests[0].Get("binding_message"), "12.50") {
				t.Errorf("the provider was asked %v", requests)
			}
		})
	}
}
