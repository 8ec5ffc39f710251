package provider_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// CIBA checklist U1, U2, C4, D4; threats B44
func TestUserCode(t *testing.T) {
	var compared atomic.Int64
	var broken error
	w := newWorld(t, func(c *provider.Config) {
		c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 50, 50
		c.CompareUserCode = func(hash, code []byte) (bool, error) {
			compared.Add(1)
			return bytes.Equal(hash, append([]byte("hash of "), code...)), broken
		}
		c.Clients[0].UserCode = true
	})
	all, err := provider.NewStaticUsers([]provider.User{
		{ID: "sub-alice", Username: "alice", UserCodeHash: "hash of 1234"}, {ID: "sub-bob", Username: "bob"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.users.all = all
	if w.get("/.well-known/openid-configuration").body["backchannel_user_code_parameter_supported"] != true {
		t.Error("user codes are not published")
	}
	try := func(client, user, code string) *answer {
		t.Helper()
		params := []string{"scope", "openid", "login_hint", user}
		if code != "" {
			params = append(params, "user_code", code)
		}
		return w.post(client, "/backchannel-authentication", params...)
	}
	try("gateway", "alice", "1234").want(t, 200, "")
	try("gateway", "alice", "").want(t, 400, "missing_user_code")
	try("gateway", "bob", "").want(t, 200, "")  // has none
	try("other", "alice", "9").want(t, 200, "") // is not registered for codes
	try("gateway", "nobody", "1234").want(t, 400, "unknown_user_id")
	for range 2 { // a right code clears the count
		for range 4 {
			try("gateway", "alice", "9999").want(t, 400, "invalid_user_code")
		}
		try("gateway", "alice", "1234").want(t, 200, "")
	}
	for range 5 {
		try("gateway", "alice", "9999").want(t, 400, "invalid_user_code")
	}
	before := compared.Load()
	w.restart()
	try("gateway", "alice", "1234").want(t, 400, "invalid_user_code") // cool-down
	try("gateway", "alice", strings.Repeat("x", 200)).want(t, 400, "invalid_user_code")
	if compared.Load() != before {
		t.Error("a code was looked at during the cool-down")
	}
	w.clock.advance(15 * time.Minute)
	try("gateway", "alice", "1234").want(t, 200, "")
	broken = errors.New("out of memory")
	try("gateway", "alice", "1234").want(t, 503, "temporarily_unavailable")
}

// Attempts at the same time do not count as one.
func TestUserCodeRace(t *testing.T) {
	var compared atomic.Int64
	w := newWorld(t, func(c *provider.Config) {
		c.CompareUserCode = func(_, _ []byte) (bool, error) {
			compared.Add(1)
			return false, nil
		}
		c.Clients[0].UserCode = true
	})
	all, err := provider.NewStaticUsers([]provider.User{{ID: "sub-alice", Username: "alice", UserCodeHash: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	w.users.all = all
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", "alice", "user_code", "1")
		})
	}
	wg.Wait()
	if compared.Load() > 5 {
		t.Errorf("%d codes were tried", compared.Load())
	}
}

// A flood of codes takes the memory of few comparisons. Who does not get his turn is
// asked to come again, and loses no attempt.
func TestUserCodesComparedAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 4
		gate := make(chan struct{})
		var running atomic.Int64
		w := newWorld(t, func(c *provider.Config) {
			c.CompareUserCode = func(_, _ []byte) (bool, error) {
				running.Add(1)
				<-gate
				return true, nil
			}
			c.Clients[0].UserCode = true
		})
		var known []provider.User
		for i := range slots + 1 {
			name := "user" + string(rune('a'+i))
			known = append(known, provider.User{ID: "sub-" + name, Username: name, UserCodeHash: "x"})
		}
		all, err := provider.NewStaticUsers(known)
		if err != nil {
			t.Fatal(err)
		}
		w.users.all = all
		try := func(i int) *answer {
			return w.post("gateway", "/backchannel-authentication", "scope", "openid", "login_hint", known[i].Username, "user_code", "1")
		}
		var wg sync.WaitGroup
		for i := range slots {
			wg.Go(func() {
				a := try(i)
				if a.status != 200 {
					t.Errorf("in time: %d %s", a.status, a.raw)
				}
			})
		}
		synctest.Wait()
		late := try(slots)
		late.want(t, 503, "temporarily_unavailable")
		if running.Load() != slots || late.header.Get("Retry-After") == "" {
			t.Errorf("%d comparisons, Retry-After %q", running.Load(), late.header.Get("Retry-After"))
		}
		close(gate)
		wg.Wait()
		try(slots).want(t, 200, "")
	})
}
