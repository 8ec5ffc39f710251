package approval

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// U06: a request is decided once; who comes second or too late is told.
func TestSecondDecision(t *testing.T) {
	tests := map[string]struct {
		first  func(g *rig, b *browser, id string)
		second string
		want   int
		says   string
		state  provider.State
	}{
		"approve after deny":    {decideFirst("deny"), "approve", 409, "already denied", provider.StateDenied},
		"deny after approve":    {decideFirst("approve"), "deny", 409, "already approved", provider.StateApproved},
		"approve after approve": {decideFirst("approve"), "approve", 409, "already approved", provider.StateApproved},
		"deny after deny":       {decideFirst("deny"), "deny", 409, "already denied", provider.StateDenied},
		"approve after expiry":  {expireFirst, "approve", 410, "too late", provider.StateExpired},
		"deny after expiry":     {expireFirst, "deny", 410, "too late", provider.StateExpired},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			_, id := g.ask("alice", "")
			b := g.signedIn("alice")
			form := b.decision(id, test.second, "profile")
			test.first(g, b, id)
			w := b.post("/requests/"+id+"/decision", form)
			if w.Code != test.want || !strings.Contains(w.Body.String(), test.says) {
				t.Errorf("status %d, want %d and %q:\n%s", w.Code, test.want, test.says, w.Body)
			}
			if g.state("alice", id) != test.state {
				t.Errorf("state: %s", g.state("alice", id))
			}
		})
	}
}

func decideFirst(decision string) func(*rig, *browser, string) {
	return func(g *rig, b *browser, id string) {
		w := b.decide(id, decision)
		if w.Code != http.StatusSeeOther {
			g.t.Fatalf("%s: %d", decision, w.Code)
		}
	}
}

func expireFirst(g *rig, _ *browser, _ string) { g.clock.advance(121 * time.Second) }

// U06, U07: many decisions at once have one effect, and all are told.
func TestConcurrentDecisions(t *testing.T) {
	for range 20 {
		g := newRig(t)
		authReqID, id := g.ask("alice", "")
		phone, laptop := g.signedIn("alice"), g.signedIn("alice")
		approve, deny := phone.decision(id, "approve"), laptop.decision(id, "deny")
		answers := make([]*httptest.ResponseRecorder, 8)
		start := make(chan struct{})
		var wait sync.WaitGroup
		for i := range answers {
			// A browser of its own for each, as its cookies are not locked.
			b, form := g.browser(), approve
			b.cookies = phone.cookies
			if i%2 == 1 {
				b.cookies, form = laptop.cookies, deny
			}
			wait.Go(func() {
				<-start
				answers[i] = b.post("/requests/"+id+"/decision", form)
			})
		}
		close(start)
		wait.Wait()
		won := -1
		for i, w := range answers {
			switch {
			case w.Code == http.StatusSeeOther && won < 0:
				won = i
			case w.Code != http.StatusConflict:
				t.Fatalf("answer %d: %d", i, w.Code)
			}
		}
		if won < 0 {
			t.Fatal("nobody decided")
		}
		says, want := "already approved", http.StatusOK
		if won%2 == 1 {
			says, want = "already denied", http.StatusBadRequest
		}
		for i, w := range answers {
			if i != won && !strings.Contains(w.Body.String(), says) {
				t.Errorf("answer %d does not say %q", i, says)
			}
		}
		status, _ := g.redeem(authReqID)
		if status != want {
			t.Errorf("token endpoint: %d, want %d", status, want)
		}
	}
}

func TestScopes(t *testing.T) {
	tests := map[string]struct {
		ticked []string
		status int
		want   any
	}{
		"all":                      {[]string{"openid", "profile", testScope}, 303, "openid profile " + testScope},
		"optional ticked":          {[]string{"profile"}, 303, "openid profile " + testScope},
		"optional unticked":        {nil, 303, "openid " + testScope},
		"twice":                    {[]string{"profile", "profile"}, 303, "openid profile " + testScope},
		"not asked for":            {[]string{"profile", "email"}, 400, nil},
		"does not exist":           {[]string{"admin"}, 400, nil},
		"several in one":           {[]string{"profile email"}, 400, nil},
		"empty value is no choice": {[]string{""}, 400, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			authReqID, id := g.ask("alice", "")
			b := g.signedIn("alice")
			w := b.decide(id, "approve", test.ticked...)
			if w.Code != test.status {
				t.Fatalf("status %d, want %d", w.Code, test.status)
			}
			_, answer := g.redeem(authReqID)
			if answer["scope"] != test.want {
				t.Errorf("granted %v, want %v", answer["scope"], test.want)
			}
		})
	}
}

func TestUnknownDecision(t *testing.T) {
	for _, choice := range [][]string{nil, {""}, {"Approve"}, {"yes"}, {"approve", "deny"}, {"deny", "approve"}} {
		g := newRig(t)
		_, id := g.ask("alice", "")
		b := g.signedIn("alice")
		form := b.decision(id, "")
		form["decision"] = choice
		w := b.post("/requests/"+id+"/decision", form)
		if w.Code != http.StatusBadRequest || g.state("alice", id) != provider.StatePending {
			t.Errorf("%q: %d, state %s", choice, w.Code, g.state("alice", id))
		}
	}
}

// Who signed in before the request came proves anew who he is, after reading.
func TestProofAfterReading(t *testing.T) {
	g := newRig(t)
	b := g.signedIn("alice")
	g.clock.advance(time.Minute)
	authReqID, id := g.ask("alice", "Wire 5 EUR")
	asked := g.clock.Now()
	g.clock.advance(time.Second)

	page := b.get("/requests/" + id)
	if !strings.Contains(page.Body.String(), "Approve with password") || strings.Contains(page.Body.String(), `name="password"`) {
		t.Errorf("the page does not announce the password:\n%s", page.Body)
	}
	w := b.decide(id, "approve")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Confirm with your password") || g.state("alice", id) != provider.StatePending {
		t.Fatalf("first step: %d, state %s", w.Code, g.state("alice", id))
	}
	if strings.Contains(w.Body.String(), `value="profile"`) || strings.Contains(w.Body.String(), "Your profile") {
		t.Error("the confirmation shows a permission that was unticked")
	}
	form := b.decision(id, "approve")
	form.Set("password", "wrong")
	w = b.post("/requests/"+id+"/decision", form)
	if w.Code != http.StatusUnauthorized || g.state("alice", id) != provider.StatePending {
		t.Fatalf("wrong password: %d, state %s", w.Code, g.state("alice", id))
	}
	g.clock.advance(time.Second)
	form.Set("password", testPassword)
	w = b.post("/requests/"+id+"/decision", form)
	if w.Code != http.StatusSeeOther || g.state("alice", id) != provider.StateApproved {
		t.Fatalf("right password: %d, state %s", w.Code, g.state("alice", id))
	}
	status, tokens := g.redeem(authReqID)
	if status != http.StatusOK {
		t.Fatalf("token endpoint: %d %v", status, tokens)
	}
	claims := claims(t, tokens["id_token"])
	if int64(claims["auth_time"].(float64)) < asked.Unix() {
		t.Errorf("auth_time %v is before the request of %d", claims["auth_time"], asked.Unix())
	}

	// The proof serves for what was asked before it, and not for what comes after.
	_, older := g.ask("alice", "")
	w = b.decide(older, "approve")
	if w.Code != http.StatusSeeOther {
		t.Errorf("request of the same moment: %d", w.Code)
	}
	g.clock.advance(time.Second)
	_, newer := g.ask("alice", "")
	w = b.decide(newer, "approve")
	if w.Code != http.StatusOK {
		t.Errorf("request after the proof: %d", w.Code)
	}
	// Denying never asks.
	w = b.decide(newer, "deny")
	if w.Code != http.StatusSeeOther || g.state("alice", newer) != provider.StateDenied {
		t.Errorf("deny: %d, state %s", w.Code, g.state("alice", newer))
	}
}

// Guessing the password in a session that is open ends the session.
func TestProofIsThrottled(t *testing.T) {
	g := newRig(t)
	b := g.signedIn("alice")
	g.clock.advance(time.Minute)
	_, id := g.ask("alice", "")
	form := b.decision(id, "approve")
	form.Set("password", "wrong")
	for i := range sessionAttempts {
		w := b.post("/requests/"+id+"/decision", form)
		if w.Code != http.StatusUnauthorized {
			t.Fatalf("attempt %d: %d", i+1, w.Code)
		}
	}
	before := g.compares
	form.Set("password", testPassword)
	w := b.post("/requests/"+id+"/decision", form)
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/sign-in?next=") || g.compares != before {
		t.Errorf("attempt too many: %d to %q", w.Code, w.Header().Get("Location"))
	}
	if w := b.get("/requests/" + id); w.Code != http.StatusSeeOther || g.state("alice", id) != provider.StatePending {
		t.Errorf("the session lives: %d, state %s", w.Code, g.state("alice", id))
	}
	if w := b.signIn("alice", testPassword); w.Code != http.StatusSeeOther {
		t.Errorf("signing in again: %d", w.Code)
	}
}

// Strangers who know a user name can use up its attempts at the sign-in page. That
// stops nobody who is signed in from approving.
func TestStrangersDoNotBlockApprovals(t *testing.T) {
	g := newRig(t)
	b := g.signedIn("alice")
	g.clock.advance(time.Minute)
	_, id := g.ask("alice", "")
	stranger := g.browser()
	for range userAttempts + 1 {
		stranger.signIn("alice", "wrong")
	}
	if w := stranger.signIn("alice", testPassword); w.Code != http.StatusTooManyRequests {
		t.Fatalf("sign-in is not blocked: %d", w.Code)
	}
	form := b.decision(id, "approve")
	form.Set("password", testPassword)
	w := b.post("/requests/"+id+"/decision", form)
	if w.Code != http.StatusSeeOther || g.state("alice", id) != provider.StateApproved {
		t.Errorf("approval: %d, state %s", w.Code, g.state("alice", id))
	}
}

func TestProofAge(t *testing.T) {
	g := newRig(t, func(_ *provider.Config, c *Config) { c.ProofAge = 5 * time.Minute })
	b := g.signedIn("alice")
	g.clock.advance(5 * time.Minute)
	_, id := g.ask("alice", "")
	if w := b.decide(id, "approve"); w.Code != http.StatusSeeOther {
		t.Errorf("5 minutes after sign-in: %d", w.Code)
	}
	g.clock.advance(time.Second)
	_, id = g.ask("alice", "")
	if w := b.decide(id, "approve"); w.Code != http.StatusOK {
		t.Errorf("5 minutes and a second after sign-in: %d", w.Code)
	}
}

// A customer who is disabled in the meantime is signed out.
func TestDisabledCustomer(t *testing.T) {
	g := newRig(t)
	users := &switchable{UserStore: g.app.cfg.Users}
	g.app.cfg.Users = users
	_, id := g.ask("alice", "")
	b := g.signedIn("alice")
	form := b.decision(id, "approve")
	users.off = true
	w := b.post("/requests/"+id+"/decision", form)
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/sign-in") || g.state("alice", id) != provider.StatePending {
		t.Errorf("decision: %d to %s, state %s", w.Code, w.Header().Get("Location"), g.state("alice", id))
	}
	users.off = false
}
