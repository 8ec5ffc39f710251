package provider_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// The benchmarks measure the four hot operations through the handler, with
// client_secret_basic and ES256, on each store.

func benchStores(b *testing.B, run func(b *testing.B, w *world)) {
	world := func(b *testing.B, s store.Store) *world {
		return newWorld(b, func(c *provider.Config) {
			c.Store = s
			c.Now = time.Now
			c.CoolDown.First = -1
			c.MaxPendingPerUser, c.MaxPendingPerUserAndClient = 1<<30, 1<<30
			c.Users = manyUsers{}
		})
	}
	b.Run("memory", func(b *testing.B) { run(b, world(b, store.NewMemory(store.Options{}))) })
	b.Run("bolt", func(b *testing.B) {
		s, err := store.OpenBolt(filepath.Join(b.TempDir(), "idp.db"), store.BoltOptions{})
		if err != nil {
			b.Fatal(err)
		}
		run(b, world(b, s))
	})
}

// manyUsers has a user for every name, so that requests are spread as in reality.
type manyUsers struct{}

func (manyUsers) ByLogin(_ context.Context, hint string) (*provider.User, error) {
	return &provider.User{ID: hint}, nil
}

func (manyUsers) BySubject(_ context.Context, subject string) (*provider.User, error) {
	return &provider.User{ID: subject}, nil
}

func benchPost(b *testing.B, w *world, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("gateway", secret1)
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

func benchStart(b *testing.B, w *world, user string) (authReqID string) {
	rec := benchPost(b, w, "/backchannel-authentication",
		"scope=openid+profile+my_wire_transfer_scope&binding_message=Pay+100+EUR+to+Bob&login_hint="+user)
	var out struct {
		ID string `json:"auth_req_id"`
	}
	err := json.Unmarshal(rec.Body.Bytes(), &out)
	if err != nil || rec.Code != http.StatusOK {
		b.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return out.ID
}

func benchUser(i int) string { return "user" + string(rune('a'+i%26)) + strings.Repeat("x", i/26%100) }

func benchApproval(user, authReqID string) provider.Approval {
	return provider.Approval{
		Subject: user, RequestID: hashOf(authReqID), AuthTime: time.Now(), AMR: []string{"pwd"},
		Scopes: []string{"openid", "profile", "my_wire_transfer_scope"},
	}
}

func BenchmarkStart(b *testing.B) {
	benchStores(b, func(b *testing.B, w *world) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			authReqID := benchStart(b, w, benchUser(i))
			b.StopTimer() // requests must not pile up in front of one user
			err := w.Deny(context.Background(), benchUser(i), hashOf(authReqID))
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

func BenchmarkPendingPoll(b *testing.B) {
	benchStores(b, func(b *testing.B, w *world) {
		authReqID := benchStart(b, w, "alice")
		b.ReportAllocs()
		for b.Loop() {
			rec := benchPost(b, w, "/token", "grant_type="+provider.GrantCIBA+"&auth_req_id="+authReqID)
			if rec.Code != http.StatusBadRequest {
				b.Fatalf("%d %s", rec.Code, rec.Body)
			}
		}
	})
}

func BenchmarkApprove(b *testing.B) {
	benchStores(b, func(b *testing.B, w *world) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			authReqID := benchStart(b, w, benchUser(i))
			b.StartTimer()
			err := w.Approve(context.Background(), benchApproval(benchUser(i), authReqID))
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRedeem(b *testing.B) {
	benchStores(b, func(b *testing.B, w *world) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			authReqID := benchStart(b, w, benchUser(i))
			err := w.Approve(context.Background(), benchApproval(benchUser(i), authReqID))
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			rec := benchPost(b, w, "/token", "grant_type="+provider.GrantCIBA+"&auth_req_id="+authReqID)
			if rec.Code != http.StatusOK {
				b.Fatalf("%d %s", rec.Code, rec.Body)
			}
		}
	})
}
