package provider_test

import (
	"bytes"
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// tracedStore writes down what is asked of it.
type tracedStore struct {
	store.Store
	mu  sync.Mutex
	ops []string
}

func (s *tracedStore) trace(op, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ops = append(s.ops, op+" "+kind)
}

// take returns what was written down since the last time.
func (s *tracedStore) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ops := s.ops
	s.ops = nil
	return ops
}

func (s *tracedStore) Create(ctx context.Context, r *store.Record) error {
	s.trace("create", r.Kind)
	return s.Store.Create(ctx, r)
}

func (s *tracedStore) Get(ctx context.Context, kind, id string) (*store.Record, error) {
	s.trace("get", kind)
	return s.Store.Get(ctx, kind, id)
}

func (s *tracedStore) Update(ctx context.Context, r *store.Record) error {
	s.trace("update", r.Kind)
	return s.Store.Update(ctx, r)
}

func (s *tracedStore) Delete(ctx context.Context, kind, id string, version uint64) error {
	s.trace("delete", kind)
	return s.Store.Delete(ctx, kind, id, version)
}

func (s *tracedStore) List(ctx context.Context, kind string, index store.Index, after string, limit int) ([]*store.Record, error) {
	s.trace("list", kind+" "+index.Name)
	return s.Store.List(ctx, kind, index, after, limit)
}

func maskedWorld(t *testing.T, change func(*provider.Config)) (*world, *tracedStore) {
	t.Helper()
	var traced *tracedStore
	w := newWorld(t, func(c *provider.Config) {
		traced = &tracedStore{Store: c.Store}
		c.Store = traced
		c.MaskUnknownUsers = true
		c.Limits = provider.Limits{}
		if change != nil {
			change(c)
		}
	})
	return w, traced
}

// shape is an answer without what differs between any two.
func (a *answer) shape(t *testing.T) string {
	t.Helper()
	raw := regexp.MustCompile(`"auth_req_id":"[A-Za-z0-9_-]{43}"`).ReplaceAllString(a.raw, `"auth_req_id":"…"`)
	names := slices.Sorted(maps.Keys(a.header))
	var b strings.Builder
	for _, name := range names {
		b.WriteString(name + ": " + strings.Join(a.header[name], ",") + "\n")
	}
	return b.String() + raw
}

// Threats B31, B32, T21; CIBA checklist R5: nothing tells a user who does not exist
// from one who does not react, from the start to the end and in what it costs.
func TestUnknownUsersAreMasked(t *testing.T) {
	for _, hint := range readLines(t, "masked.txt") {
		t.Run(hint, func(t *testing.T) {
			w, traced := maskedWorld(t, nil)
			traced.take()
			var real, masked []*answer
			both := func(do func(user string) *answer) {
				t.Helper()
				known := do("alice")
				knownOps := traced.take()
				unknown := do(hint)
				unknownOps := traced.take()
				if known.status != unknown.status || known.shape(t) != unknown.shape(t) {
					t.Errorf("known\n%d %s\nunknown\n%d %s", known.status, known.shape(t), unknown.status, unknown.shape(t))
				}
				if !slices.Equal(knownOps, unknownOps) {
					t.Errorf("known costs %v, unknown %v", knownOps, unknownOps)
				}
				real, masked = append(real, known), append(masked, unknown)
			}
			start := func(user string) *answer {
				return w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", user, "binding_message", "1234")
			}
			both(start)
			both(start)
			both(start)
			if masked[0].str("auth_req_id") == masked[1].str("auth_req_id") || masked[0].status != 200 {
				t.Fatal(masked[0].raw)
			}
			both(start) // one too many
			if masked[3].status != 429 {
				t.Error(masked[3].raw)
			}
			poll := func(user string) *answer {
				if user == "alice" {
					return w.poll("gateway", real[0].str("auth_req_id"))
				}
				return w.poll("gateway", masked[0].str("auth_req_id"))
			}
			both(poll)
			both(poll) // slow_down
			w.clock.advance(5*time.Minute - time.Millisecond)
			both(poll)
			w.clock.advance(time.Millisecond)
			both(poll)
			if masked[len(masked)-1].str("error") != "expired_token" {
				t.Errorf("at the end: %s", masked[len(masked)-1].raw)
			}
			both(poll)
			both(start) // there is room again
			for _, subject := range []string{"sub-bob", "sub-carol"} {
				pending, err := w.Pending(t.Context(), subject)
				if err != nil || len(pending) != 0 {
					t.Errorf("%s is asked: %v, %v", subject, pending, err)
				}
			}
			checkRecords(t, w, real[0].str("auth_req_id"), masked[0].str("auth_req_id"))
		})
	}
}

// checkRecords compares what is kept.
func checkRecords(t *testing.T, w *world, known, unknown string) {
	t.Helper()
	members := func(authReqID string) []string {
		record, err := w.store.Get(t.Context(), "idp.request", hashOf(authReqID))
		if err != nil {
			t.Fatal(err)
		}
		names, err := provider.StoredMembers(record.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range record.Indexes {
			names = append(names, "index "+x.Name)
		}
		return names
	}
	a, b := members(known), members(unknown)
	if !slices.Equal(a, b) {
		t.Errorf("kept of a known user %v, of an unknown one %v", a, b)
	}
}

// However a name is written, it is one decoy; and hints of all kinds lead to one.
func TestDecoysAreCounted(t *testing.T) {
	hints := newES256(t, "k")
	w, _ := maskedWorld(t, func(c *provider.Config) {
		c.HintIssuers = []provider.HintIssuer{{Issuer: "https://crm.example", JWKS: hints.jwks(t), BySubject: true}}
	})
	for _, name := range []string{"mallory", "Mallory", "MALLORY"} {
		w.ask("gateway", name).want(t, 200, "")
	}
	w.ask("gateway", "mAllory").want(t, 429, "temporarily_unavailable")
	now := w.clock.Now().Unix()
	token := func(subject string) string {
		return hints.sign(t, map[string]any{"iss": "https://crm.example", "aud": issuer, "exp": now + 60, "sub": subject}, nil)
	}
	w.hint("gateway", "login_hint_token", token("sub-nobody")).want(t, 200, "")
	for range 2 {
		w.hint("gateway", "login_hint_token", token("sub-carol")).want(t, 200, "")
	}
	w.ask("gateway", "carol").want(t, 200, "") // the same person
	w.ask("gateway", "carol").want(t, 429, "temporarily_unavailable")
}

func TestDecoysHaveUserCodes(t *testing.T) {
	w, _ := maskedWorld(t, func(c *provider.Config) {
		c.CompareUserCode = func(hash, code []byte) (bool, error) {
			return bytes.Equal(hash, append([]byte("hash of "), code...)), nil
		}
		c.Clients[0].UserCode = true
		c.DecoyUserCodeHash = "hash of something long that nobody knows"
	})
	all, err := provider.NewStaticUsers([]provider.User{{ID: "sub-alice", Username: "alice", UserCodeHash: "hash of 1234"}})
	if err != nil {
		t.Fatal(err)
	}
	w.users.all = all
	for _, user := range []string{"alice", "mallory"} {
		w.ask("gateway", user).want(t, 400, "missing_user_code")
		for range 7 {
			w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", user, "user_code", "9").want(t, 400, "invalid_user_code")
		}
	}
}

// The application learns of decoys, and nobody is notified.
func TestDecoysAreNotNotified(t *testing.T) {
	events := make(chan provider.Event, 10)
	w, _ := maskedWorld(t, func(c *provider.Config) {
		c.Notify = func(_ context.Context, r *provider.Request) { t.Errorf("notified of %+v", r) }
		c.OnEvent = func(_ context.Context, e provider.Event) { events <- e }
	})
	a := w.ask("gateway", "mallory")
	a.want(t, 200, "")
	e := <-events
	if e.Type != provider.EventRefused || e.Reason != "unknown_user_id" || e.Client != "gateway" || e.Subject != "" {
		t.Errorf("event %+v", e)
	}
	w.Close() // waits for what goes on in the background
	if len(events) != 0 {
		t.Errorf("further event %+v", <-events)
	}
	for _, subject := range []string{"", "mallory", "\x01decoy\x01"} {
		err := w.Approve(t.Context(), provider.Approval{
			Subject: subject, RequestID: hashOf(a.str("auth_req_id")), Scopes: []string{"openid"}, AuthTime: w.clock.Now(),
		})
		wantErr(t, err, provider.ErrNotFound)
	}
}
