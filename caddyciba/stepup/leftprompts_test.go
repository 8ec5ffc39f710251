package stepup

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// heir is a second process with the store of the first, whose customers decide as
// the error says. It takes up what the first one has left.
func heir(t *testing.T, shared store.Store, like *bench, decision error, next Next) *bench {
	t.Helper()
	b := newBench(t, next, func(cfg *Config) { cfg.Store = shared })
	b.route = like.route
	b.client.requests = append(b.client.requests, ciba.Request{}) // which the first one has made
	b.client.wait = func(context.Context) error { return decision }
	return b
}

func (b *bench) takeUp(t *testing.T) {
	t.Helper()
	found, err := b.gate.Journal().Recover(t.Context(), true)
	if err == nil {
		err = b.gate.TakeUp(t.Context(), found.Orphans)
	}
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// The question of a request that another process goes on with counts as one that
// waits until it is over, and a denial of it as one (INV-13).
func TestPromptsOfTheLeft(t *testing.T) {
	for name, c := range map[string]struct {
		decision error
		cancel   bool
		after    int // for the same caller and customer, at once
	}{
		"approved":  {nil, false, 201},
		"denied":    {&ciba.Error{Op: "wait", Code: ciba.CodeAccessDenied}, false, 429},
		"expired":   {&ciba.Error{Op: "wait", Code: ciba.CodeExpiredToken}, false, 201},
		"withdrawn": {nil, true, 201},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shared := store.NewMemory(store.Options{})
				defer shared.Close()
				a := newBench(t, answering(500, ""), func(cfg *Config) { cfg.Store = shared })
				a.route.Prompts = []PromptLimit{{Per: PerCustomer, Count: 1}}
				a.route.BackOff = true
				a.route.Mode = ModeAsync
				a.undecided()
				a.do("POST", "/p", "1", nil)
				err := a.gate.Drain(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				upstream := &counting{}
				b := heir(t, shared, a, c.decision, upstream.next)
				b.route.Mode = ModeHold
				if w := b.do("POST", "/p", "2", nil); w.Code != 429 {
					t.Fatalf("a second question: %d", w.Code)
				}
				if c.cancel {
					_, err = b.gate.Cancel(t.Context(), b.only(t).ID)
					if err != nil {
						t.Fatal(err)
					}
					// Nobody has it at hand: its time must be over.
					time.Sleep(defaultHold + recoveryMargin)
				}
				b.takeUp(t)
				b.client.wait = nil
				if w := b.do("POST", "/p", "3", nil); w.Code != c.after {
					t.Errorf("afterwards: %d %v", w.Code, b.lastRefusal())
				}
			})
		})
	}
}

// The question of an async request that its caller withdraws, or that nobody
// answers, is counted out at once.
func TestPromptsOfAsync(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, b *bench, location string){
		"withdrawn": func(t *testing.T, b *bench, location string) {
			if w := b.look("DELETE", location, "", teller); w.Code != 200 {
				t.Errorf("cancelling: %d", w.Code)
			}
		},
		"expired": func(*testing.T, *bench, string) { time.Sleep(defaultHold) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, answering(201, ""))
				b.route.Prompts = []PromptLimit{{Per: PerCustomer, Count: 1}}
				auto(b)
				b.undecided()
				location := b.start(t, "1")
				if w := b.do("POST", "/p", "2", respondAsync); w.Code != 429 {
					t.Fatalf("a second question: %d", w.Code)
				}
				end(t, b, location)
				synctest.Wait()
				if b.client.withdrawn() != 1 {
					t.Errorf("withdrawn %d times", b.client.withdrawn())
				}
				b.client.wait = nil
				if w := b.do("POST", "/p", "3", respondAsync); w.Code != 202 && w.Code != 201 {
					t.Errorf("afterwards: %d", w.Code)
				}
				synctest.Wait()
			})
		})
	}
}

// What an upstream demands of the customer's authentication (RFC 9470) counts for
// a request that goes on without its connection, and in another process, too.
func TestChallengeOfKept(t *testing.T) {
	demanding := func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication", acr_values="phr", max_age="60"`)
		w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		shared := store.NewMemory(store.Options{})
		defer shared.Close()
		a := newBench(t, demanding, func(cfg *Config) { cfg.Store = shared })
		a.route.Mode, a.route.OnChallenge = ModeAsync, true
		a.route.Detach = func() (*http.Request, *Route, Next) {
			route := *a.route
			r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), "POST", "/p", nil)
			if err != nil {
				t.Fatal(err)
			}
			return r, &route, a.next
		}
		a.undecided()
		a.do("POST", "/p", "1", nil)
		synctest.Wait()
		err := a.gate.Drain(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		upstream := &counting{}
		b := heir(t, shared, a, nil, upstream.next)
		b.takeUp(t)
		if upstream.count() != 1 {
			t.Fatalf("sent %d times", upstream.count())
		}
		for who, client := range map[string]*provider{"first": a.client, "second": b.client} {
			if len(client.checks) != 1 {
				t.Fatalf("%s: %d checks", who, len(client.checks))
			}
			check := client.checks[0]
			if !slices.Equal(check.ACR, []string{"phr"}) || check.NotBefore.IsZero() || check.AuthTimeOptional {
				t.Errorf("%s: the answer is checked for %+v", who, check)
			}
		}
	})
}
