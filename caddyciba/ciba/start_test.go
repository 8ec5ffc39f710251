package ciba

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

// The parameters of an authentication request. CIBA checklist A1, A5, A6, A10, A11,
// A12, A15
func TestStartParameters(t *testing.T) {
	for name, row := range map[string]struct {
		req  Request
		want url.Values
	}{
		"least": {Request{LoginHint: "alice"}, url.Values{"scope": {"openid"}, "login_hint": {"alice"}}},
		"openid is added": {
			Request{LoginHint: "alice", Scope: []string{"profile"}},
			url.Values{"scope": {"openid profile"}, "login_hint": {"alice"}},
		},
		"order is kept": {
			Request{LoginHintToken: "a.b.c", Scope: []string{"profile", "openid"}},
			url.Values{"scope": {"profile openid"}, "login_hint_token": {"a.b.c"}},
		},
		"all": {
			Request{
				IDTokenHint: "a.b.c", Scope: []string{"openid", "my_wire_transfer_scope"}, BindingMessage: "Pay 5 € to Bob; W4SCT",
				UserCode: "1234", ACRValues: []string{"phrh", "phr"}, RequestedExpiry: 90*time.Second + time.Millisecond,
				AuthorizationDetails: json.RawMessage(`[{"type":"wire_transfer"}]`),
				Extra:                url.Values{"resource": {"https://a", "https://b"}, "match_code": {"42"}},
			},
			url.Values{
				"id_token_hint": {"a.b.c"}, "scope": {"openid my_wire_transfer_scope"}, "binding_message": {"Pay 5 € to Bob; W4SCT"},
				"user_code": {"1234"}, "acr_values": {"phrh phr"}, "requested_expiry": {"90"},
				"authorization_details": {`[{"type":"wire_transfer"}]`},
				"resource":              {"https://a", "https://b"}, "match_code": {"42"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, op := newTestClient(t, nil)
			_, err := c.Start(t.Context(), row.req)
			if err != nil {
				t.Fatal(err)
			}
			call := op.seen("/backchannel")[0]
			if call.form.Encode() != row.want.Encode() {
				t.Errorf("sent %v", call.form)
			}
			if call.header.Get("Content-Type") != "application/x-www-form-urlencoded" || call.header.Get("Authorization") == "" {
				t.Errorf("header %v", call.header)
			}
		})
	}
}

// What cannot be sent is refused before anything is.
func TestStartRefusesArguments(t *testing.T) {
	for name, req := range map[string]Request{
		"no hint":                 {},
		"two hints":               {LoginHint: "a", IDTokenHint: "b"},
		"three hints":             {LoginHint: "a", IDTokenHint: "b", LoginHintToken: "c"},
		"scope with a space":      {LoginHint: "a", Scope: []string{"openid profile"}},
		"empty scope":             {LoginHint: "a", Scope: []string{"openid", ""}},
		"acr with a tab":          {LoginHint: "a", ACRValues: []string{"a\tb"}},
		"negative expiry":         {LoginHint: "a", RequestedExpiry: -time.Second},
		"expiry below a second":   {LoginHint: "a", RequestedExpiry: time.Millisecond},
		"details no list":         {LoginHint: "a", AuthorizationDetails: json.RawMessage(`{"type":"a"}`)},
		"details null":            {LoginHint: "a", AuthorizationDetails: json.RawMessage(`null`)},
		"details no JSON":         {LoginHint: "a", AuthorizationDetails: json.RawMessage(`[`)},
		"extra replaces scope":    {LoginHint: "a", Extra: url.Values{"scope": {"admin"}}},
		"extra replaces client":   {LoginHint: "a", Extra: url.Values{"client_id": {"other"}}},
		"extra brings request":    {LoginHint: "a", Extra: url.Values{"request": {"a.b.c"}}},
		"extra with two values":   {LoginHint: "a", Extra: url.Values{"match_code": {"1", "2"}}},
		"extra without any value": {LoginHint: "a", Extra: url.Values{"match_code": {}}},
	} {
		t.Run(name, func(t *testing.T) {
			c, op := newTestClient(t, nil)
			p, err := c.Start(t.Context(), req)
			wantCode(t, err, CodeInvalidArgument)
			if p != nil || len(op.calls) != 0 {
				t.Error("something was sent")
			}
		})
	}
}

// The caller's Extra and details are not kept or changed.
func TestStartLeavesArgumentsAlone(t *testing.T) {
	c, _ := newTestClient(t, func(cfg *Config) { cfg.Auth = ClientSecretPost("s3cret") })
	extra := url.Values{"resource": {"https://a"}}
	scope := make([]string, 1, 8)
	scope[0] = "profile"
	_, err := c.Start(t.Context(), Request{LoginHint: "a", Scope: scope, Extra: extra})
	if err != nil {
		t.Fatal(err)
	}
	if len(extra) != 1 || scope[0] != "profile" || scope[:2][1] != "" {
		t.Errorf("extra %v, scope %q", extra, scope[:2])
	}
}

// A start that fails on the way is not repeated: the customer may have been
// asked.
func TestStartIsNotRepeated(t *testing.T) {
	c, op := newTestClient(t, nil)
	c.http.Transport = failingTransport{next: op, fail: func(r *http.Request) error {
		if r.URL.Path == "/backchannel" {
			_, _ = op.RoundTrip(r)
			return errors.New("connection reset by peer")
		}
		return nil
	}}
	_, err := c.Start(t.Context(), Request{LoginHint: "alice"})
	wantCode(t, err, CodeUnavailable)
	if n := len(op.seen("/backchannel")); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// The request ends by our clock, counted from when it was sent.
func TestStartTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		_, err := c.Discover(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		op.on("/backchannel", func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(4 * time.Second)
			sendJSON(w, 200, map[string]any{"auth_req_id": "a", "expires_in": 30, "interval": 7})
		})
		began := time.Now()
		p := start(t, c)
		if !p.StartedAt.Equal(began) || !p.ExpiresAt.Equal(began.Add(30*time.Second)) || !p.NextPoll.Equal(began.Add(11*time.Second)) {
			t.Errorf("started %s, expires %s, next poll %s", p.StartedAt.Sub(began), p.ExpiresAt.Sub(began), p.NextPoll.Sub(began))
		}
	})
}

func TestStartEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := newTestClient(t, nil)
		op.on("/backchannel", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Start(ctx, Request{LoginHint: "alice"})
		wantCode(t, err, CodeCanceled)
	})
}

// The poll carries the grant and the auth_req_id, and nothing in the URL. CIBA
// checklist T1.
func TestPollParameters(t *testing.T) {
	c, op := newTestClient(t, nil)
	_, err := c.Poll(t.Context(), start(t, c))
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{"grant_type": {grantType}, "auth_req_id": {testAuthReqID}}
	if got := op.seen("/token")[0].form; got.Encode() != want.Encode() {
		t.Errorf("sent %v", got)
	}
}

// A stored request loses nothing that the next process needs.
func TestPendingIsARecord(t *testing.T) {
	c, _ := newTestClient(t, nil)
	p := start(t, c)
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var restored Pending
	err = json.Unmarshal(data, &restored)
	if err != nil {
		t.Fatal(err)
	}
	if restored.AuthReqID != p.AuthReqID || restored.Interval != p.Interval || !restored.ExpiresAt.Equal(p.ExpiresAt) ||
		!restored.StartedAt.Equal(p.StartedAt) || !restored.NextPoll.Equal(p.NextPoll) {
		t.Errorf("restored %s", data)
	}
}
