package provider_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// fromAddress is how a test says where a request comes from.
const fromAddress = "X-Test-Address"

func limitedWorld(t testing.TB, limits provider.Limits) *world {
	t.Helper()
	return newWorld(t, func(c *provider.Config) {
		c.Limits = limits
		c.ClientIP = func(r *http.Request) string { return r.Header.Get(fromAddress) }
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 1000, 1000
	})
}

// begin starts a request with a secret from an address.
func (w *world) begin(client, secret, address, user string) *answer {
	w.t.Helper()
	r := postRequest("/backchannel-authentication", form("scope", "openid", "login_hint", user).Encode())
	r.SetBasicAuth(client, secret)
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	if address != "" {
		r.Header.Set(fromAddress, address)
	}
	return w.do(r)
}

func (a *answer) wantRetryAfter(t testing.TB, want string) {
	t.Helper()
	a.want(t, http.StatusTooManyRequests, "temporarily_unavailable")
	if a.header.Get("Retry-After") != want {
		t.Errorf("Retry-After %q, want %q", a.header.Get("Retry-After"), want)
	}
}

// Threats B07, B08; CIBA checklist E5
func TestFailedAuthenticationIsLimited(t *testing.T) {
	const home, away = "192.0.2.1", "192.0.2.2"
	w := limitedWorld(t, provider.Limits{})
	var wrong, unknown *answer
	for range 6 {
		wrong = w.begin("gateway", "wrong", home, "bob")
		wrong.want(t, 401, "invalid_client")
		unknown = w.begin("nobody", "wrong", home, "bob")
		if unknown.status != 401 || unknown.raw != wrong.raw {
			t.Errorf("unknown client: %s, wrong secret: %s", unknown.raw, wrong.raw)
		}
	}
	wrong = w.begin("gateway", "wrong", home, "bob")
	wrong.wantRetryAfter(t, "10")
	unknown = w.begin("nobody", "wrong", home, "bob")
	if unknown.status != 429 || unknown.raw != wrong.raw {
		t.Errorf("unknown client: %s, wrong secret: %s", unknown.raw, wrong.raw)
	}
	// Guessing gets nowhere any more, at no endpoint, and concerns nobody else.
	w.begin("gateway", secret1, home, "bob").want(t, 429, "temporarily_unavailable")
	for _, path := range []string{"/token", "/introspect", "/revoke"} {
		r := postRequest(path, "token=x")
		r.SetBasicAuth("gateway", secret1)
		r.Header.Set(fromAddress, home)
		w.do(r).want(t, 429, "temporarily_unavailable")
	}
	w.begin("gateway", secret1, away, "bob").want(t, 200, "")
	w.begin("other", secret2, home, "bob").want(t, 200, "")
	w.clock.advance(10 * time.Second)
	w.begin("gateway", secret1, home, "bob").want(t, 200, "")
	w.begin("gateway", "wrong", home, "bob").want(t, 401, "invalid_client")
	w.begin("gateway", secret1, home, "bob").want(t, 429, "temporarily_unavailable")
	w.clock.advance(time.Minute)
	w.begin("gateway", secret1, home, "bob").want(t, 200, "")
}

// Where addresses are not known, strangers can't lock a client out.
func TestFailuresOfUnknownSource(t *testing.T) {
	w := limitedWorld(t, provider.Limits{})
	for range 6 {
		w.begin("gateway", "wrong", "", "bob").want(t, 401, "invalid_client")
	}
	w.begin("gateway", "wrong", "", "bob").wantRetryAfter(t, "10")
	w.begin("gateway", secret1, "", "bob").want(t, 200, "")
	w.begin("other", "wrong", "", "bob").want(t, 401, "invalid_client")
}

// The limit of a client holds also when its address has long recovered, or is not
// counted at all: a right guess beyond it must not get through.
func TestFailuresOfAClientOutlastThoseOfTheAddress(t *testing.T) {
	for name, limits := range map[string]provider.Limits{
		"recovered":   {},
		"not counted": {SourceFailures: provider.Rate{Burst: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := limitedWorld(t, limits)
			for range 6 {
				w.begin("gateway", "wrong", "192.0.2.1", "bob").want(t, 401, "invalid_client")
			}
			w.clock.advance(7 * time.Second) // of ten for the next attempt
			w.begin("gateway", secret1, "192.0.2.1", "bob").wantRetryAfter(t, "3")
			w.begin("gateway", secret1, "192.0.2.2", "bob").want(t, 200, "")
			w.clock.advance(3 * time.Second)
			w.begin("gateway", secret1, "192.0.2.1", "bob").want(t, 200, "")
		})
	}
}

// One address can't go through the ids of all clients.
func TestFailuresOverAllClients(t *testing.T) {
	w := limitedWorld(t, provider.Limits{SourceFailures: provider.Rate{Burst: 30, Per: time.Minute}})
	for i := range 30 {
		w.begin(fmt.Sprint("client", i), "wrong", "2001:db8::1", "bob").want(t, 401, "invalid_client")
	}
	w.begin("gateway", "wrong", "2001:db8::2:3", "bob").wantRetryAfter(t, "2") // in the same network
	w.begin("gateway", "wrong", "2001:db8:0:1::1", "bob").want(t, 401, "invalid_client")
	w.begin("gateway", "wrong", "::ffff:192.0.2.1", "bob").want(t, 401, "invalid_client")
}

// Threats B65
func TestRequestsAreLimited(t *testing.T) {
	off := provider.Rate{Burst: -1}
	t.Run("client", func(t *testing.T) {
		w := limitedWorld(t, provider.Limits{User: off, Client: provider.Rate{Burst: 30, Per: time.Minute}})
		for i := range 30 {
			w.begin("gateway", secret1, fmt.Sprint("192.0.2.", i), "bob").want(t, 200, "")
		}
		w.begin("gateway", secret1, "192.0.2.1", "alice").wantRetryAfter(t, "2")
		w.begin("other", secret2, "192.0.2.1", "alice").want(t, 200, "")
		w.clock.advance(2 * time.Second)
		w.begin("gateway", secret1, "192.0.2.1", "alice").want(t, 200, "")
		w.begin("gateway", secret1, "192.0.2.1", "alice").wantRetryAfter(t, "2")
	})
	t.Run("source", func(t *testing.T) {
		w := limitedWorld(t, provider.Limits{User: off, Source: provider.Rate{Burst: 5, Per: time.Minute}})
		for range 5 {
			w.begin("gateway", secret1, "192.0.2.1", "bob").want(t, 200, "")
		}
		w.begin("other", secret2, "192.0.2.1", "bob").wantRetryAfter(t, "12")
		w.begin("gateway", secret1, "192.0.2.2", "bob").want(t, 200, "")
		w.begin("gateway", secret1, "", "bob").want(t, 200, "") // not known
	})
}

// Threats T4, B65: what a user is asked is counted over all clients and nodes, and
// whatever becomes of it. One client gets half.
func TestPromptsAreLimited(t *testing.T) {
	w := limitedWorld(t, provider.Limits{User: provider.Rate{Burst: 8, Per: time.Minute}})
	other := *w
	node, err := provider.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	other.Provider = node
	first := w.begin("gateway", secret1, "", "alice")
	first.want(t, 200, "")
	w.clock.advance(20 * time.Second)
	other.post("gateway", "/revoke", "token", first.str("auth_req_id")).want(t, 200, "") // cancelled
	authReqID, id := w.start()
	w.mustApprove(id)
	w.poll("gateway", authReqID).want(t, 200, "")
	w.start("requested_expiry", "1")
	w.clock.advance(10 * time.Second)
	w.start()
	w.begin("gateway", secret1, "", "alice").wantRetryAfter(t, "30")
	other.begin("gateway", secret1, "", "alice").wantRetryAfter(t, "30")
	for range 4 {
		denied := other.begin("other", secret2, "", "alice")
		denied.want(t, 200, "")
		err = w.Deny(t.Context(), "sub-alice", hashOf(denied.str("auth_req_id")))
		if err != nil {
			t.Fatal(err)
		}
	}
	other.begin("other", secret2, "", "alice").want(t, 429, "temporarily_unavailable")
	r := postRequest("/backchannel-authentication", form("scope", "openid", "login_hint", "alice", "client_id", "poster", "client_secret", secret1).Encode())
	w.do(r).wantRetryAfter(t, "30") // a third client finds that all is used up
	w.begin("gateway", secret1, "", "bob").want(t, 200, "")
	w.begin("gateway", secret1, "", "mallory").want(t, 400, "unknown_user_id")
	w.clock.advance(30 * time.Second) // the first one is a minute old
	other.begin("gateway", secret1, "", "alice").want(t, 200, "")
	w.begin("gateway", secret1, "", "alice").wantRetryAfter(t, "20")
}

// The defaults stop no client that serves many users from one address.
func TestLimitsLetHonestLoadThrough(t *testing.T) {
	w := limitedWorld(t, provider.Limits{})
	w.cfg.Users = manyUsers{}
	w.restart()
	for i := range 3000 {
		a := w.begin("gateway", secret1, "192.0.2.1", fmt.Sprint("user", i%1000))
		if a.status != http.StatusOK {
			t.Fatalf("request %d: %d %s", i, a.status, a.raw)
		}
	}
}

func TestLimitsAreChecked(t *testing.T) {
	good := newWorld(t, nil).cfg
	for want, limits := range map[string]provider.Limits{
		"a rate must have a burst": {Client: provider.Rate{Per: time.Minute}},
		"from 1s to 24h":           {Source: provider.Rate{Burst: 1, Per: time.Millisecond}},
		"10m at most":              {User: provider.Rate{Burst: 1, Per: time.Hour}},
	} {
		cfg := good
		cfg.Limits = limits
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
