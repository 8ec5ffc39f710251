package ciba

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pingClient returns a client in the given mode and a provider that delivers so.
func deliveryClient(t *testing.T, mode Delivery) (*Client, *fakeOP) {
	t.Helper()
	c, op := newTestClient(t, func(cfg *Config) { cfg.Delivery = mode })
	md := op.metadata()
	md["backchannel_token_delivery_modes_supported"] = []string{"ping", "push"}
	op.on("/.well-known/openid-configuration", sends(200, md))
	return c, op
}

// notify posts a notification and returns the answer.
func notify(h http.Handler, token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/ciba/notify", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func pingBody(id string) string {
	return fmt.Sprintf(`{"auth_req_id":%q}`, id)
}

// fapi-ciba-id1-client-test in ping mode: the ping after ten seconds causes the
// poll that brings the tokens. CIBA checklist P1, P5, P8.
func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := deliveryClient(t, DeliveryPing)
		op.onPolls(pending, op.approve(nil))
		registry := NewRegistry(nil)
		h := PingHandler(registry)
		p := start(t, c)
		registry.Add(p)
		if op.seen("/backchannel")[0].form.Get("client_notification_token") != p.NotificationToken || len(p.NotificationToken) < 40 {
			t.Fatalf("token %q", p.NotificationToken)
		}
		began := time.Now()
		go func() {
			time.Sleep(10 * time.Second)
			w := notify(h, p.NotificationToken, pingBody(p.AuthReqID))
			if w.Code != http.StatusNoContent || w.Body.Len() != 0 || !w.Flushed {
				t.Errorf("answered %d", w.Code)
			}
		}()
		_, err := c.Wait(t.Context(), p, Check{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %s", took)
		}
		wantGaps(t, op, 5, 5)
	})
}

// A provider that tells the poll to wait which its ping has caused gets some time
// from then on.
func TestPingSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := deliveryClient(t, DeliveryPing)
		op.onPolls(pending, op.approve(nil))
		registry := NewRegistry(nil)
		h := PingHandler(registry)
		for round, want := range []time.Duration{time.Second + 5*time.Second, time.Second + settleDelay} {
			if round == 1 {
				op.onPolls(op.approve(nil))
			}
			p := start(t, c)
			registry.Add(p)
			began := time.Now()
			go func() {
				time.Sleep(time.Second)
				notify(h, p.NotificationToken, pingBody(p.AuthReqID))
			}()
			_, err := c.Wait(t.Context(), p, Check{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("round %d took %s, want %s", round, took, want)
			}
		}
	})
}

// Without any ping the decision is found all the same.
func TestLostPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := deliveryClient(t, DeliveryPing)
		op.onPolls(pending, pending, op.approve(nil))
		_, err := c.Wait(t.Context(), start(t, c), Check{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantGaps(t, op, 5, 30, 30)
	})
}

// 1,000 pings while nothing is decided cause one poll per interval (N06), and
// none after the end (N05). All are answered by 204.
func TestPingFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := deliveryClient(t, DeliveryPing)
		op.onPolls(pending, pending, refuses(CodeAccessDenied))
		registry := NewRegistry(nil)
		h := PingHandler(registry)
		p := start(t, c)
		registry.Add(p)
		flood := func() {
			for range 1000 {
				w := notify(h, p.NotificationToken, pingBody(p.AuthReqID))
				if w.Code != http.StatusNoContent {
					t.Errorf("answered %d", w.Code)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		go flood()
		_, err := c.Wait(t.Context(), p, Check{}, nil)
		if !IsDenied(err) {
			t.Fatal(err)
		}
		flood()
		if n := len(op.seen("/token")); n != 3 {
			t.Errorf("%d polls", n)
		}
		for _, gap := range gaps(op)[1:] {
			if gap < 5 {
				t.Errorf("polled after %v s", gaps(op))
			}
		}
	})
}

// Notifications that are not in order: rows N01 to N04, N07, N08 of the catalogue
// and fapi-ciba-id1-client-ping-with-invalid-bearer-token-test. None causes a
// poll.
func TestBadPings(t *testing.T) {
	c, op := deliveryClient(t, DeliveryPing)
	registry := NewRegistry(nil)
	p := start(t, c)
	registry.Add(p)
	op.on("/backchannel", sends(200, map[string]any{"auth_req_id": "other", "expires_in": 120}))
	other := start(t, c)
	registry.Add(other)
	good := p.NotificationToken
	body := pingBody(p.AuthReqID)
	for name, row := range map[string]struct {
		change func(*http.Request)
		body   string
		want   int
	}{
		"N01 no Authorization":     {func(r *http.Request) { r.Header.Del("Authorization") }, body, 401},
		"N01 Basic":                {func(r *http.Request) { r.Header.Set("Authorization", "Basic "+good) }, body, 401},
		"N01 empty Bearer":         {func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, body, 401},
		"N01 no space":             {func(r *http.Request) { r.Header.Set("Authorization", "Bearer"+good) }, body, 401},
		"N01 two spaces":           {func(r *http.Request) { r.Header.Set("Authorization", "Bearer  "+good) }, body, 401},
		"N01 two headers":          {func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+good) }, body, 401},
		"N02 wrong":                {func(r *http.Request) { r.Header.Set("Authorization", "Bearer wrong") }, body, 401},
		"N02 one short":            {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good[:len(good)-1]) }, body, 401},
		"N02 one more":             {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good+"A") }, body, 401},
		"N02 another's":            {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+other.NotificationToken) }, body, 401},
		"N03 another's id":         {nil, pingBody("other"), 401},
		"N03 unknown id":           {nil, pingBody("unknown"), 400},
		"N03 no id":                {nil, `{}`, 400},
		"N03 null id":              {nil, `{"auth_req_id":null}`, 400},
		"N04 GET":                  {func(r *http.Request) { r.Method = http.MethodGet }, body, 405},
		"N04 text":                 {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, body, 415},
		"N04 no type":              {func(r *http.Request) { r.Header.Del("Content-Type") }, body, 415},
		"N04 packed":               {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, body, 415},
		"N04 65 KiB":               {nil, body + strings.Repeat(" ", 65<<10), 413},
		"N04 no JSON":              {nil, `auth_req_id=1`, 400},
		"N04 empty":                {nil, ``, 400},
		"N04 repeated id":          {nil, `{"auth_req_id":"other","auth_req_id":"` + p.AuthReqID + `"}`, 400},
		"N07 tokens":               {nil, `{"auth_req_id":"` + p.AuthReqID + `","access_token":"x","id_token":"y"}`, 400},
		"N07 error":                {nil, `{"auth_req_id":"` + p.AuthReqID + `","error":"access_denied"}`, 400},
		"N08 __proto__":            {nil, pingBody("__proto__"), 400},
		"N08 array":                {nil, `{"auth_req_id":["` + p.AuthReqID + `"]}`, 400},
		"N08 number":               {nil, `{"auth_req_id":1}`, 400},
		"N08 10 KiB":               {nil, pingBody(strings.Repeat("a", 10<<10)), 400},
		"N08 path":                 {nil, pingBody("../" + p.AuthReqID), 400},
		"id in another case":       {nil, strings.Replace(body, "auth_req_id", "AUTH_REQ_ID", 1), 400},
		"all in order":             {nil, body, 204},
		"charset":                  {func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }, body, 204},
		"scheme in another case":   {func(r *http.Request) { r.Header.Set("Authorization", "bearer "+good) }, body, 204},
		"a member of an extension": {nil, strings.Replace(body, "}", `,"x":1}`, 1), 204},
	} {
		t.Run(name, func(t *testing.T) {
			drain(p.signal)
			r := httptest.NewRequest(http.MethodPost, "/ciba/notify", strings.NewReader(row.body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+good)
			if row.change != nil {
				row.change(r)
			}
			w := httptest.NewRecorder()
			PingHandler(registry).ServeHTTP(w, r)
			if w.Code != row.want {
				t.Fatalf("answered %d, want %d", w.Code, row.want)
			}
			if woke := len(p.Wake)+len(other.Wake) > 0; woke != (row.want == 204) {
				t.Errorf("woke up: %t", woke)
			}
			if w.Body.Len() != 0 || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("answered %q with header %v", w.Body, w.Header())
			}
			if row.want == 401 && w.Header().Get("WWW-Authenticate") == "" || row.want == 405 && w.Header().Get("Allow") != "POST" {
				t.Errorf("header %v", w.Header())
			}
		})
	}
}

func drain(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// An expired request is not known any more, and is swept out.
func TestRegistryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := deliveryClient(t, DeliveryPing)
		registry := NewRegistry(nil)
		p := start(t, c)
		registry.Add(p)
		time.Sleep(2 * time.Minute)
		if w := notify(PingHandler(registry), p.NotificationToken, pingBody(p.AuthReqID)); w.Code != 401 {
			t.Errorf("answered %d", w.Code)
		}
		registry.Add(start(t, c))
		if len(registry.byToken) != 1 || len(registry.byRequest) != 1 {
			t.Errorf("%d entries", len(registry.byToken))
		}
		// A request that was not started in ping mode has no token to show.
		registry.Add(&Pending{AuthReqID: "a", ExpiresAt: time.Now().Add(time.Hour)})
		_, err := registry.Expected(t.Context(), HashNotification(""))
		if !errors.Is(err, ErrUnknownNotification) {
			t.Errorf("the empty token is known: %v", err)
		}
	})
}

type brokenNotifications struct{ *Registry }

func (brokenNotifications) Expected(context.Context, NotificationHash) (NotificationHash, error) {
	return NotificationHash{}, errors.New("store is down")
}

// A look-up that fails is not a wrong token.
func TestPingWithoutStore(t *testing.T) {
	if w := notify(PingHandler(brokenNotifications{NewRegistry(nil)}), "token", pingBody("a")); w.Code != 503 {
		t.Errorf("answered %d", w.Code)
	}
}

func TestDeliveryModes(t *testing.T) {
	_, err := NewClient(Config{
		Issuer: "https://id.example.com", ClientID: "c", Auth: ClientSecretBasic("s"), Delivery: "carrier pigeon",
	})
	if err == nil {
		t.Error("an unknown mode is accepted")
	}
	c, op := newTestClient(t, func(cfg *Config) { cfg.Delivery = DeliveryPing })
	_, err = c.Start(t.Context(), Request{LoginHint: "alice"})
	if !IsUnsupported(err) || len(op.seen("/backchannel")) != 0 {
		t.Errorf("got %v", err)
	}
}
