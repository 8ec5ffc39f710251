package provider_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/caddyciba/gateway/idp/provider"
)

func pushWorld(t *testing.T, handler http.HandlerFunc) (*world, <-chan called) {
	t.Helper()
	w, calls := callbackWorld(t, provider.DeliveryPush, handler)
	w.cfg.Clients[0].GrantTypes = []string{provider.GrantCIBA, provider.GrantRefresh}
	w.restart()
	return w, calls
}

// startPush starts a request of alice by a push client.
func (w *world) startPush(params ...string) (authReqID, id string) {
	w.t.Helper()
	return w.start(append([]string{"client_notification_token", notificationToken}, params...)...)
}

// pushed decodes the body of a call.
func pushed(t *testing.T, call called) map[string]any {
	t.Helper()
	if call.path != "/ciba/notify" || call.authorization != "Bearer "+notificationToken || call.contentType != "application/json" {
		t.Errorf("call %+v", call)
	}
	var body map[string]any
	err := json.Unmarshal([]byte(call.body), &body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// halfHash is at_hash and rt_hash for ES256.
func halfHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// CIBA checklist X1, I3, R4, D2
func TestPush(t *testing.T) {
	w, calls := pushWorld(t, answerWith(http.StatusNoContent))
	a := w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "bob", "client_notification_token", notificationToken)
	a.want(t, 200, "")
	if len(a.body) != 2 || a.body["interval"] != nil || a.body["expires_in"] != 300.0 {
		t.Errorf("answer to a push client: %s", a.raw)
	}
	modes, _ := w.get("/.well-known/openid-configuration").body["backchannel_token_delivery_modes_supported"].([]any)
	if len(modes) != 3 || modes[2] != "push" {
		t.Errorf("delivery modes %v", modes)
	}
	authReqID, id := w.startPush()
	w.mustApprove(id)
	body := pushed(t, nextCall(t, calls))
	access, _ := body["access_token"].(string)
	refresh, _ := body["refresh_token"].(string)
	idToken, _ := body["id_token"].(string)
	if body["auth_req_id"] != authReqID || body["token_type"] != "Bearer" || body["expires_in"] != 300.0 ||
		body["scope"] != "openid profile my_wire_transfer_scope" || len(body) != 7 {
		t.Errorf("pushed %v", body)
	}
	verifier := oidc.NewVerifier(issuer, publishedKeys(t, w), &oidc.Config{ClientID: "gateway", Now: w.clock.Now, SupportedSigningAlgs: []string{"ES256"}})
	verified, err := verifier.Verify(t.Context(), idToken)
	if err != nil {
		t.Fatal(err)
	}
	err = verified.VerifyAccessToken(access)
	if err != nil {
		t.Errorf("at_hash: %v", err)
	}
	claims := decodeClaims(t, idToken)
	if claims["at_hash"] != halfHash(access) || claims["urn:openid:params:jwt:claim:rt_hash"] != halfHash(refresh) ||
		claims["urn:openid:params:jwt:claim:auth_req_id"] != authReqID {
		t.Errorf("ID Token %v", claims)
	}
	userinfo(w, access).want(t, 200, "")
	w.refresh("gateway", refresh).want(t, 200, "")
	noCall(t, calls)
	record, err := w.store.Get(t.Context(), "idp.request", id)
	if err != nil {
		t.Fatal(err)
	}
	members, err := provider.StoredMembers(record.Data)
	if err != nil || slices.Contains(members, "Callback") {
		t.Errorf("what was delivered is kept: %v, %v", members, err)
	}
}

// publishedKeys are the keys that the provider publishes.
func publishedKeys(t *testing.T, w *world) *oidc.StaticKeySet {
	t.Helper()
	var published jose.JSONWebKeySet
	err := json.Unmarshal([]byte(w.get("/jwks").raw), &published)
	if err != nil || len(published.Keys) == 0 {
		t.Fatalf("no keys, %v", err)
	}
	set := new(oidc.StaticKeySet)
	for _, key := range published.Keys {
		set.PublicKeys = append(set.PublicKeys, key.Key)
	}
	return set
}

// A user store that does not answer costs nobody the tokens.
func TestPushWaitsForUsers(t *testing.T) {
	w, calls := pushWorld(t, answerWith(http.StatusNoContent))
	_, id := w.startPush()
	w.restart()
	w.mustApprove(id)
	w.users.breakDown(context.DeadlineExceeded)
	err := w.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	noCall(t, calls)
	w.users.breakDown(nil)
	if pushed(t, nextCall(t, calls))["access_token"] == nil {
		t.Error("no tokens were pushed")
	}
}

// CIBA checklist T2, C5; threats T14: a push client has nothing to collect, and
// asking does no harm.
func TestPushClientAtTokenEndpoint(t *testing.T) {
	release := make(chan struct{})
	w, calls := pushWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		<-release
		rw.WriteHeader(http.StatusNoContent)
	})
	defer close(release)
	authReqID, id := w.startPush()
	w.poll("gateway", authReqID).want(t, 400, "unauthorized_client")
	w.mustApprove(id)
	nextCall(t, calls)
	w.poll("gateway", authReqID).want(t, 400, "unauthorized_client")

	// It needs no grant type, since it never calls the token endpoint.
	w.cfg.Clients[0].GrantTypes = []string{provider.GrantRefresh}
	w.restart()
	w.startPush()
}

// CIBA checklist X2
func TestPushErrors(t *testing.T) {
	cases := map[string]struct {
		decide func(*world, string) error
		code   string
	}{
		"denied": {func(w *world, id string) error { return w.Deny(context.Background(), "sub-alice", id) }, "access_denied"},
		"expired": {func(w *world, _ string) error {
			w.clock.advance(5 * time.Minute)
			return nil
		}, "expired_token"},
		"user disabled": {func(w *world, id string) error {
			w.restart() // and nobody calls clients until Start
			err := w.approve(id)
			if err != nil {
				return err
			}
			w.users.disable("sub-alice")
			return w.Start(context.Background())
		}, "transaction_failed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, calls := pushWorld(t, answerWith(http.StatusNoContent))
			authReqID, id := w.startPush()
			err := c.decide(w, id)
			if err != nil {
				t.Fatal(err)
			}
			body := pushed(t, nextCall(t, calls))
			description, _ := body["error_description"].(string)
			if body["auth_req_id"] != authReqID || body["error"] != c.code || description == "" || len(body) != 3 {
				t.Errorf("pushed %v", body)
			}
			noCall(t, calls)
		})
	}
}

// CIBA checklist X1, X3: what is refused is not sent again and good for nothing.
func TestPushRefused(t *testing.T) {
	for _, status := range []int{301, 307, 400, 401, 403, 404} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			w, calls := pushWorld(t, answerWith(status))
			_, id := w.startPush()
			w.mustApprove(id)
			call := nextCall(t, calls)
			body := pushed(t, call)
			w.clock.advance(20 * time.Second)
			noCall(t, calls)
			eventually(t, func() bool { return userinfo(w, body["access_token"].(string)).status == http.StatusUnauthorized })
			w.refresh("gateway", body["refresh_token"].(string)).want(t, 400, "invalid_grant")
		})
	}
}

// CIBA checklist X3: the same tokens are brought again, also by a successor, until
// the client takes them.
func TestPushIsRetried(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusServiceUnavailable)
	w, calls := pushWorld(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(int(status.Load())) })
	authReqID, id := w.startPush()
	w.mustApprove(id)
	first := pushed(t, nextCall(t, calls))
	record, err := w.store.Get(t.Context(), "idp.request", id)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{authReqID, notificationToken, first["access_token"].(string), first["refresh_token"].(string)} {
		if strings.Contains(string(record.Data), secret) {
			t.Errorf("the store has %q", secret)
		}
	}
	w.clock.advance(10 * time.Second)
	second := pushed(t, nextCall(t, calls))
	w.restart()
	err = w.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status.Store(http.StatusOK)
	w.clock.advance(10 * time.Second)
	third := pushed(t, nextCall(t, calls))
	for name, value := range first {
		if name != "expires_in" && (second[name] != value || third[name] != value) {
			t.Errorf("%s: %v, %v, %v", name, value, second[name], third[name])
		}
	}
	if third["expires_in"] != 280.0 {
		t.Errorf("expires_in %v", third["expires_in"])
	}
	w.clock.advance(time.Minute)
	noCall(t, calls)
	userinfo(w, first["access_token"].(string)).want(t, 200, "")
}

// CIBA checklist X3: what can't be delivered while the request lasts is revoked.
func TestPushIsRevoked(t *testing.T) {
	w, calls := pushWorld(t, answerWith(http.StatusBadGateway))
	w.cfg.AccessTokenLifetime = time.Hour
	w.restart()
	_, id := w.startPush()
	w.mustApprove(id)
	body := pushed(t, nextCall(t, calls))
	userinfo(w, body["access_token"].(string)).want(t, 200, "")
	w.clock.advance(5 * time.Minute)
	eventually(t, func() bool { return userinfo(w, body["access_token"].(string)).status == http.StatusUnauthorized })
	w.refresh("gateway", body["refresh_token"].(string)).want(t, 400, "invalid_grant")
	select {
	case call := <-calls:
		t.Errorf("pushed again: %+v", call)
	default:
	}
}

// eventually waits for what goes on in the background.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// CIBA checklist T7: of two nodes one makes the tokens, and the client gets one set.
func TestPushOnTwoNodes(t *testing.T) {
	w, calls := pushWorld(t, answerWith(http.StatusNoContent))
	w.cfg.MaxPendingPerUser, w.cfg.MaxPendingPerUserAndClient = 100, 100
	w.restart()
	other, err := provider.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, node := range []*provider.Provider{w.Provider, other} {
		err = node.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	}
	const rounds = 40
	var ids []string
	for range rounds {
		_, id := w.startPush()
		ids = append(ids, id)
		w.clock.advance(time.Millisecond)
	}
	var wg sync.WaitGroup
	for i, id := range ids {
		at := *w
		if i%2 == 1 {
			at.Provider = other
		}
		wg.Go(func() {
			err := at.approve(id)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := make(map[any]bool)
	for range rounds {
		body := pushed(t, nextCall(t, calls))
		if seen[body["auth_req_id"]] {
			t.Errorf("%v was pushed twice", body["auth_req_id"])
		}
		seen[body["auth_req_id"]] = true
	}
	noCall(t, calls)
}

// A node that goes down between making tokens and sending them leaves them to its
// successor.
func TestPushSurvivesItsNode(t *testing.T) {
	var hang atomic.Bool
	hang.Store(true)
	w, calls := pushWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if hang.Load() {
			<-r.Context().Done()
		}
	})
	_, id := w.startPush()
	w.mustApprove(id)
	first := pushed(t, nextCall(t, calls))
	w.Provider.Close()
	hang.Store(false)
	w.restart()
	w.clock.advance(10 * time.Second)
	err := w.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := pushed(t, nextCall(t, calls))
	if first["access_token"] != second["access_token"] || first["id_token"] != second["id_token"] {
		t.Error("other tokens were made")
	}
}

// CIBA checklist X4, C2, F3; threats B50
func TestPushIsRefusedWithBoundTokens(t *testing.T) {
	w, _ := pushWorld(t, answerWith(http.StatusNoContent))
	for want, change := range map[string]func(*provider.Client){
		"can not be bound":                func(c *provider.Client) { c.DPoPBound = true },
		"pushed can not be bound":         func(c *provider.Client) { c.CertificateBound = true },
		"endpoint is required for push":   func(c *provider.Client) { c.NotificationEndpoint = "" },
		"must be a plain https URL":       func(c *provider.Client) { c.NotificationEndpoint = "http://rp.example.com" },
		"the profile does not allow push": func(c *provider.Client) { fapiClient(t, c) },
		"it is in a closed network":       func(c *provider.Client) { c.NotificationEndpoint = "https://192.168.0.1/" },
	} {
		cfg := w.cfg
		cfg.Clients = append([]provider.Client(nil), w.cfg.Clients...)
		change(&cfg.Clients[0])
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	r := postRequest("/backchannel-authentication", form("scope", "openid", "login_hint", "alice", "client_notification_token", notificationToken).Encode())
	r.SetBasicAuth("gateway", secret1)
	r.Header.Set("DPoP", "x")
	w.do(r).want(t, 400, "invalid_request")
	// A push client must say how it is to be called (A9).
	w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice").want(t, 400, "invalid_request")
}

func fapiClient(t *testing.T, c *provider.Client) {
	c.Profile = provider.ProfileFAPICIBA
	c.AuthMethod, c.SecretHashes, c.JWKS = provider.AuthPrivateKeyJWT, nil, newES256(t, "k").jwks(t)
	c.GrantTypes = nil
}
