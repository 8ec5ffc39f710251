package provider_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// approveWith approves with a typed number.
func (w *world) approveWith(id, typed string) error {
	a := w.approval(id)
	a.MatchCode = typed
	return w.Approve(context.Background(), a)
}

// The extension parameter is two digits or it is refused before anybody is asked.
func TestMatchCodeParameter(t *testing.T) {
	w := newWorld(t, nil)
	for _, value := range []string{"1", "123", "1a", "+1", " 12", "12 ", "1.", "٣٧", "１２", "-1", strings.Repeat("7", 10<<10)} {
		w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice", "match_code", value).want(t, 400, "invalid_request")
	}
	pending, err := w.Pending(context.Background(), "sub-alice")
	if err != nil || len(pending) != 0 {
		t.Errorf("%d requests are pending, %v", len(pending), err)
	}
	_, id := w.start()
	r, err := w.Request(context.Background(), "sub-alice", id)
	if err != nil || r.MustMatch || r.TriesLeft != 0 {
		t.Errorf("without the parameter: %+v, %v", r, err)
	}
}

// Where the extension is left out, the parameter is one of those that nobody knows.
func TestMatchCodeLeftOut(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.NoMatchCode = true })
	_, id := w.start("match_code", "seven")
	r, err := w.Request(context.Background(), "sub-alice", id)
	if err != nil || r.MustMatch {
		t.Errorf("%+v, %v", r, err)
	}
	_, found := w.get("/.well-known/openid-configuration").body["match_code_parameter_supported"]
	if found {
		t.Error("the metadata has match_code_parameter_supported")
	}
}

// Threats U08: what is not two digits is refused and is no try; wrong ones leave the
// request pending until the third denies it.
func TestMatchCode(t *testing.T) {
	w := newWorld(t, nil)
	authReqID, id := w.start("match_code", "07")
	for _, typed := range []string{"", "7", " 37", "037.0", "٣٧١", "٠٧", "0７", strings.Repeat("0", 10<<10)} {
		wantErr(t, w.approveWith(id, typed), provider.ErrMatchMissing)
	}
	wantErr(t, w.approveWith(id, "70"), provider.ErrMatchWrong)
	wantErr(t, w.approveWith(id, "08"), provider.ErrMatchWrong)
	r, err := w.Request(context.Background(), "sub-alice", id)
	if err != nil || !r.MustMatch || r.TriesLeft != 1 || r.State != provider.StatePending || r.Mismatched || !r.DecidedAt.IsZero() {
		t.Errorf("after two: %+v, %v", r, err)
	}
	w.poll("gateway", authReqID).want(t, 400, "authorization_pending")
	err = w.approveWith(id, "07")
	if err != nil {
		t.Fatalf("the right number after two wrong ones: %v", err)
	}
	w.clock.advance(5 * time.Second)
	w.poll("gateway", authReqID).want(t, 200, "")

	authReqID, id = w.start("match_code", "42")
	for _, want := range []error{provider.ErrMatchWrong, provider.ErrMatchWrong, provider.ErrMatchDenied, provider.ErrDecided} {
		wantErr(t, w.approveWith(id, "24"), want)
	}
	wantErr(t, w.approveWith(id, "42"), provider.ErrDecided)
	r, err = w.Request(context.Background(), "sub-alice", id)
	if err != nil || r.State != provider.StateDenied || !r.Mismatched || r.DecidedAt.IsZero() {
		t.Errorf("after three: %+v, %v", r, err)
	}
	w.poll("gateway", authReqID).want(t, 400, "access_denied")
}

// A wrong number counts on every node and however many come at a time: three of a
// hundred are tried and no more.
func TestMatchCodeRace(t *testing.T) {
	for range 20 {
		w := newWorld(t, nil)
		authReqID, id := w.start("match_code", "42")
		results := make([]error, 64)
		var wg sync.WaitGroup
		barrier := make(chan struct{})
		for i := range results {
			wg.Go(func() {
				<-barrier
				results[i] = w.approveWith(id, "24")
			})
		}
		close(barrier)
		wg.Wait()
		counts := map[string]int{}
		for _, err := range results {
			for name, want := range map[string]error{"wrong": provider.ErrMatchWrong, "denied": provider.ErrMatchDenied, "decided": provider.ErrDecided} {
				if errors.Is(err, want) {
					counts[name]++
				}
			}
		}
		if counts["wrong"] != 2 || counts["denied"] != 1 || counts["decided"] != len(results)-3 {
			t.Fatalf("%v", counts)
		}
		w.poll("gateway", authReqID).want(t, 400, "access_denied")
	}
}

// The number is nowhere but in the store: in no description of the request, no event
// and no answer.
func TestMatchCodeIsNotTold(t *testing.T) {
	var last provider.Event
	var about *provider.Request
	w := newWorld(t, func(c *provider.Config) {
		c.OnEvent = func(_ context.Context, e provider.Event) { last, about = e, e.Request() }
	})
	_, id := w.start("match_code", "42")
	for range 3 {
		err := w.approveWith(id, "24")
		if err == nil || strings.Contains(err.Error(), "42") || strings.Contains(err.Error(), "24") {
			t.Errorf("error %v", err)
		}
	}
	if last.Type != provider.EventDenied || last.Reason != "match_code" || !about.Mismatched {
		t.Errorf("last event: %+v about %+v", last, about)
	}
	d := w.do(httptest.NewRequest(http.MethodGet, issuer+"/.well-known/openid-configuration", nil))
	if d.body["match_code_parameter_supported"] != true {
		t.Errorf("metadata: %s", d.raw)
	}
}
