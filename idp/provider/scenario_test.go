package provider_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// switchedStore is a store that can be switched off, as a whole or for keys alone.
type switchedStore struct {
	store.Store
	off, keysOff atomic.Bool
}

func (s *switchedStore) Get(ctx context.Context, kind, id string) (*store.Record, error) {
	if s.off.Load() || s.keysOff.Load() && kind == "idp.keys" {
		return nil, errBroken
	}
	return s.Store.Get(ctx, kind, id)
}

func (s *switchedStore) Create(ctx context.Context, r *store.Record) error {
	if s.off.Load() {
		return errBroken
	}
	return s.Store.Create(ctx, r)
}

func (s *switchedStore) List(ctx context.Context, kind string, index store.Index, after string, limit int) ([]*store.Record, error) {
	if s.off.Load() {
		return nil, errBroken
	}
	return s.Store.List(ctx, kind, index, after, limit)
}

// called makes gateway a client that is called.
func calledAs(mode string) func(*provider.Config) {
	return func(c *provider.Config) {
		c.NotificationNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // where nobody is
		c.Clients[0].DeliveryMode, c.Clients[0].NotificationEndpoint = mode, "https://192.0.2.1/ciba"
	}
}

// worlds are the configurations of scenarios.
var worlds = map[string]func(*provider.Config){
	"":        func(*provider.Config) {},
	"details": withTransfers,
	"ping":    calledAs(provider.DeliveryPing),
	"push":    calledAs(provider.DeliveryPush),
	"push_fapi": func(c *provider.Config) {
		calledAs(provider.DeliveryPush)(c)
		c.Clients[0].Profile = provider.ProfileFAPICIBA
	},
	"pending": func(c *provider.Config) { c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 3, 3 },
	"client_rate": func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 100, 100
		c.Limits.Client = provider.Rate{Burst: 30, Per: time.Minute}
	},
	"user_code": func(c *provider.Config) {
		c.CompareUserCode = func(hash, code []byte) (bool, error) {
			return bytes.Equal(hash, append([]byte("hash of "), code...)), nil
		}
		c.Clients[0].UserCode = true
	},
}

// scenario is one case of scenario.txt while it is played.
type scenario struct {
	*world
	t                      *testing.T
	store                  *switchedStore
	client                 string
	proofKey               *prover
	proofKeys              map[string]*prover
	authReqID, id          string
	answer, before         *answer
	withNotificationTokens bool
}

func newScenario(t *testing.T, name string) *scenario {
	t.Helper()
	change := worlds[name]
	if change == nil {
		t.Fatalf("unknown world %q", name)
	}
	s := &scenario{t: t, client: "gateway", proofKeys: make(map[string]*prover), withNotificationTokens: name == "ping" || name == "push"}
	if name == "push_fapi" {
		cfg := newWorld(t, nil).cfg
		fapiClient(t, &cfg.Clients[0])
		change(&cfg)
		s.world = &world{t: t, cfg: cfg}
		return s
	}
	s.world = newWorld(t, func(c *provider.Config) {
		change(c)
		s.store = &switchedStore{Store: c.Store}
		c.Store = s.store
	})
	if name == "user_code" {
		all, err := provider.NewStaticUsers([]provider.User{{ID: "sub-alice", Username: "alice", UserCodeHash: "hash of 1234"}})
		if err != nil {
			t.Fatal(err)
		}
		s.users.all = all
	}
	return s
}

// send sends a form as the client, with its proof.
func (s *scenario) send(path string, values url.Values) {
	secret := secret1
	if s.client == "other" {
		secret = secret2
	}
	r := postRequest(path, values.Encode())
	r.SetBasicAuth(s.client, secret)
	if s.proofKey != nil {
		r.Header.Set("DPoP", s.proofKey.proof(s.world, path, nil, nil))
	}
	s.before, s.answer = s.answer, s.do(r)
}

// override sets parameters as they stand in a body. An empty one is left out.
func (s *scenario) override(values url.Values, params string) url.Values {
	changed, err := url.ParseQuery(expand(params, s.authReqID))
	if err != nil {
		s.t.Fatal(err)
	}
	for name := range changed {
		values.Set(name, changed.Get(name))
		if changed.Get(name) == "" {
			values.Del(name)
		}
	}
	return values
}

func (s *scenario) startRequest(params string) {
	values := url.Values{"scope": {"openid profile my_wire_transfer_scope"}, "login_hint": {"alice"}}
	if s.client == "other" {
		values.Set("scope", "openid")
	}
	if s.withNotificationTokens {
		values.Set("client_notification_token", notificationToken)
	}
	s.send(backchannel, s.override(values, params))
	if s.answer.status == 200 && s.client == "gateway" {
		s.authReqID = s.answer.str("auth_req_id")
		s.id = hashOf(s.authReqID)
	}
}

// play does what one line says.
func (s *scenario) play(line string) {
	verb, rest, _ := strings.Cut(line, " ")
	times, err := strconv.Atoi(verb)
	if err == nil {
		for range times {
			s.play(rest)
		}
		return
	}
	err = nil
	switch verb {
	case "start":
		s.startRequest(rest)
	case "poll":
		s.send("/token", s.override(url.Values{"grant_type": {provider.GrantCIBA}, "auth_req_id": {s.authReqID}}, rest))
	case "as":
		s.client = rest
	case "key":
		s.useKey(rest)
	case "approve":
		approval := s.approval(s.id)
		if rest != "" {
			approval.Scopes = strings.Fields(rest)
		}
		err = s.Approve(s.t.Context(), approval)
	case "deny":
		err = s.Deny(s.t.Context(), "sub-alice", s.id)
	case "report":
		err = s.Report(s.t.Context(), "sub-alice", s.id)
	case "after":
		var d time.Duration
		d, err = time.ParseDuration(rest)
		s.clock.advance(d)
	case "want":
		status, code, _ := strings.Cut(rest, " ")
		if fmt.Sprint(s.answer.status) != status || s.answer.str("error") != code {
			s.t.Fatalf("%s: got %d %s", line, s.answer.status, s.answer.raw)
		}
		checkErrorAnswer(s.t, s.answer)
	case "retry-after":
		got := s.answer.header.Get("Retry-After")
		if got == "" || rest != "some" && got != rest {
			s.t.Errorf("%s: got %q", line, got)
		}
	case "same":
		if s.answer.raw != s.before.raw {
			s.t.Errorf("%s and %s differ", s.answer.raw, s.before.raw)
		}
	case "refused":
		_, refusal := provider.New(s.cfg)
		if refusal == nil || !strings.Contains(refusal.Error(), rest) {
			s.t.Errorf("%s: got %v", line, refusal)
		}
	default:
		s.happen(line)
	}
	if err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
}

func (s *scenario) useKey(name string) {
	s.proofKey = nil
	if name == "none" {
		return
	}
	if s.proofKeys[name] == nil {
		s.proofKeys[name] = newProver(s.t)
	}
	s.proofKey = s.proofKeys[name]
}

// happen changes what is around the request.
func (s *scenario) happen(line string) {
	s.cfg.Clients = slices.Clone(s.cfg.Clients)
	switch line {
	case "user disabled":
		s.users.disable("sub-alice")
	case "user deleted":
		s.users.breakDown(provider.ErrUserNotFound)
	case "client disabled":
		s.cfg.Clients[0].Disabled = true
		s.restart()
	case "client secret":
		s.cfg.Clients[0].SecretHashes = []provider.SecretHash{provider.HashSecret(secret2)}
		s.restart()
	case "client grant":
		s.cfg.Clients[0].GrantTypes = []string{provider.GrantRefresh}
		s.restart()
	case "store down", "store up":
		s.store.off.Store(line == "store down")
		s.authReqID = strings.Repeat("A", 43)
	case "keys gone", "keys back":
		s.store.keysOff.Store(line == "keys gone")
		s.restart()
	default:
		s.t.Fatalf("unknown line %q", line)
	}
}

// CIBA checklist A9, C2, E5, T1, T3, T6, T7, T10, T11, U1, U2; threats B09, B44, B48 to
// B50, B65, B66, T05 to T19
func TestScenarios(t *testing.T) {
	for _, c := range readBadInputs(t, "scenario.txt") {
		t.Run(c.name, func(t *testing.T) {
			name, lines := "", c.lines
			world, ok := strings.CutPrefix(lines[0], "world ")
			if ok {
				name, lines = world, lines[1:]
			}
			s := newScenario(t, name)
			for _, line := range lines {
				s.play(line)
			}
		})
	}
}
