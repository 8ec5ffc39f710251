package idp

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/store"
)

func init() {
	caddy.RegisterModule(faulty{})
	caddy.RegisterModule(spy{})
}

// faulty is a store that cannot be reached as long as broken is set.
type faulty struct{}

var broken atomic.Bool

func (faulty) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ciba.stores.test_faulty", New: func() caddy.Module { return new(faulty) }}
}
func (*faulty) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }
func (*faulty) Key() string                                     { return "test_faulty" }
func (*faulty) Open(context.Context) (store.Store, error) {
	if broken.Load() {
		return nil, errors.New("connection refused")
	}
	return store.NewMemory(store.Options{}), nil
}

// spy remembers events.
type spy struct{}

var seen struct {
	sync.Mutex
	events []caddy.Event
}

func (spy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_spy", New: func() caddy.Module { return new(spy) }}
}
func (*spy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }
func (*spy) Handle(_ context.Context, e caddy.Event) error {
	seen.Lock()
	defer seen.Unlock()
	seen.events = append(seen.events, e)
	return nil
}

// servedHandler returns the only handler of the config in use.
func servedHandler(t *testing.T) *Handler {
	t.Helper()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	var found *Handler
	var search func(caddyhttp.RouteList)
	search = func(routes caddyhttp.RouteList) {
		for _, route := range routes {
			for _, handler := range route.Handlers {
				switch handler := handler.(type) {
				case *Handler:
					found = handler
				case *caddyhttp.Subroute:
					search(handler.Routes)
				}
			}
		}
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		search(server.Routes)
	}
	if found == nil {
		t.Fatal("no handler is served")
	}
	return found
}

// A store that is down keeps nobody from starting Caddy, and the provider comes
// up by itself when the store does.
func TestStoreComesLater(t *testing.T) {
	broken.Store(true)
	defer broken.Store(false)
	s := newServer(t)
	s.load(strings.ReplaceAll(site, "store memory", "store test_faulty"))
	resp, _ := s.do(s.request(http.MethodGet, s.url("/jwks"), nil))
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without a store: %s", resp.Status)
	}
	broken.Store(false)
	wait(t, "the provider to come up", func() bool {
		resp, _ := s.do(s.request(http.MethodGet, s.url("/jwks"), nil))
		return resp.StatusCode == http.StatusOK
	})
}

// Stopping ends the attempts to reach a store.
func TestStopEndsRetries(t *testing.T) {
	broken.Store(true)
	defer broken.Store(false)
	s := newServer(t)
	s.load(strings.ReplaceAll(site, "store memory", "store test_faulty"))
	err := caddy.Stop() // waits for the goroutines of the app
	if err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d instances are left", n)
	}
}

// caddy validate provisions a config. It must not open, make or change a file.
func TestValidateLeavesNothing(t *testing.T) {
	s := newServer(t)
	config := s.adapt(strings.ReplaceAll(site, "store memory", ""))
	var parsed caddy.Config
	err := json.Unmarshal(config, &parsed)
	if err != nil {
		t.Fatal(err)
	}
	err = caddy.Validate(&parsed)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d instances are left", n)
	}
	err = filepath.WalkDir(os.Getenv("XDG_DATA_HOME"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("validation made %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = os.Stat(filepath.Join(caddy.AppDataDir(), "ciba"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("validation made the store's directory: %v", err)
	}
}

// One issuer with two meanings is a mistake; one that is written twice is not.
func TestSameIssuerTwice(t *testing.T) {
	s := newServer(t)
	again := strings.Replace(site, "http://localhost:<port> {", "http://127.0.0.1:<port> {", 1)
	s.load(site + again)
	if n := count(); n != 1 {
		t.Errorf("one provider on two sites makes %d instances", n)
	}
	err := caddy.Load(s.adapt(site+strings.ReplaceAll(again, "Send money", "Take money")), true)
	if err == nil || !strings.Contains(err.Error(), "is configured twice with different settings") {
		t.Errorf("got error %v", err)
	}
}

// Events reach the handlers of the config in use, also when the instance was
// made by a config before it, and carry nothing secret.
func TestEvents(t *testing.T) {
	s := newServer(t)
	subscribe := "\tevents {\n\t\ton ciba_idp_requested test_spy\n\t\ton ciba_idp_approved test_spy\n\t}\n"
	s.load(site)
	issuer := s.url("")
	before := s.instance(issuer)
	s.loadWith(subscribe, site)
	if s.instance(issuer) != before {
		t.Fatal("the instance has changed")
	}
	seen.Lock()
	seen.events = nil
	seen.Unlock()
	id := s.start(issuer, "transfers")
	s.approve(issuer)
	wait(t, "two events", func() bool {
		seen.Lock()
		defer seen.Unlock()
		return len(seen.events) == 2
	})
	seen.Lock()
	defer seen.Unlock()
	names := make(map[string]map[string]any)
	for _, e := range seen.events {
		names[e.Name()] = e.Data
		if e.Data["issuer"] != issuer || e.Data["client"] != "gateway" || e.Data["subject"] != "anna" || e.Data["request"] == "" {
			t.Errorf("%s has data %v", e.Name(), e.Data)
		}
		encoded, err := json.Marshal(e.Data)
		if err != nil || strings.Contains(string(encoded), id) || strings.Contains(string(encoded), "10 EUR") {
			t.Errorf("%s tells too much: %s, %v", e.Name(), encoded, err)
		}
	}
	if names["ciba_idp_requested"] == nil || names["ciba_idp_approved"]["scopes"] == nil {
		t.Errorf("got events %v", names)
	}
}

// Caddy makes a registry per config. The counters are in each, and go on.
func TestMetrics(t *testing.T) {
	s := newServer(t)
	s.load(site)
	issuer := s.url("")
	s.start(issuer)
	s.approve(issuer)
	s.load(site + "http://127.0.0.1:<port> {\n\trespond ok\n}\n")
	context := caddy.ActiveContext()
	families, err := context.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "issuer" && label.GetValue() == issuer {
					got[family.GetName()] += metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	for _, name := range []string{"caddy_ciba_idp_requests_total", "caddy_ciba_idp_decisions_total", "caddy_ciba_idp_decision_seconds"} {
		if got[name] != 1 {
			t.Errorf("%s is %v, not 1", name, got[name])
		}
	}
}
