package webpush_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/approval/notice"
	"github.com/caddyciba/gateway/idp/approval/webpush"
	"github.com/caddyciba/gateway/idp/approval/webpush/pushtest"
	"github.com/caddyciba/gateway/idp/provider"
)

const contact = "mailto:ops@bank.example"

// rig is a service over a memory store, in front of a push service.
type rig struct {
	t       *testing.T
	store   store.Store
	service *webpush.Service
	push    *pushtest.Service
	now     time.Time
}

func newRig(t *testing.T, networks ...string) *rig {
	t.Helper()
	g := &rig{t: t, store: store.NewMemory(store.Options{}), push: pushtest.New(t), now: time.Unix(1767225600, 0)}
	t.Cleanup(func() {
		err := g.store.Close()
		if err != nil {
			t.Error(err)
		}
	})
	var opened []netip.Prefix
	for _, network := range networks {
		opened = append(opened, netip.MustParsePrefix(network))
	}
	roots := x509.NewCertPool()
	roots.AddCert(g.push.Certificate())
	client := provider.NewCallbackClient(opened, roots)
	t.Cleanup(client.CloseIdleConnections)
	g.service = g.node(client)
	return g
}

// node is a service over the same store.
func (g *rig) node(client *http.Client) *webpush.Service {
	g.t.Helper()
	sealer, err := provider.NewSealer([][]byte{[]byte("0123456789abcdef0123456789abcdef")}, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	service, err := webpush.New(webpush.Config{
		Store: g.store, Sealer: sealer, Contact: contact, Client: client, Limit: 3,
		Now: func() time.Time { return g.now },
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return service
}

// subscribe subscribes a new browser for a customer.
func (g *rig) subscribe(subject, label string) *pushtest.Browser {
	g.t.Helper()
	b := g.push.Subscribe()
	g.keep(subject, label, b)
	return b
}

func (g *rig) keep(subject, label string, b *pushtest.Browser) {
	g.t.Helper()
	sub, err := webpush.ParseSubscription(b.Endpoint, b.P256DH, b.Auth)
	if err != nil {
		g.t.Fatal(err)
	}
	g.now = g.now.Add(time.Second)
	err = g.service.Subscribe(g.t.Context(), subject, sub, label)
	if err != nil {
		g.t.Fatal(err)
	}
}

// labels are the devices of a customer.
func (g *rig) labels(subject string) string {
	g.t.Helper()
	devices, err := g.service.Devices(g.t.Context(), subject)
	if err != nil {
		g.t.Fatal(err)
	}
	var labels []string
	for _, d := range devices {
		labels = append(labels, d.Label)
	}
	return strings.Join(labels, " ")
}

// A message reaches all devices of its customer and nobody else's, encrypted, under
// the name of the operator, and says nothing.
func TestSend(t *testing.T) {
	g := newRig(t, "127.0.0.0/8")
	phone, laptop := g.subscribe("anna", "phone"), g.subscribe("anna", "laptop")
	g.subscribe("ben", "phone")
	key, err := g.service.PublicKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = g.service.Send(t.Context(), "anna", g.now.Add(90*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	reached := map[*pushtest.Browser]bool{}
	for range 2 {
		m := <-g.push.Received
		reached[m.Browser] = true
		if m.Text != `{"waiting":true}` || m.Key != key {
			t.Errorf("got %q from %s", m.Text, m.Key)
		}
		expires, _ := m.Claims["exp"].(float64)
		left := time.Unix(int64(expires), 0).Sub(g.now)
		if m.Claims["aud"] != g.push.URL || m.Claims["sub"] != contact || left <= 0 || left > 24*time.Hour {
			t.Errorf("the sender says %v", m.Claims)
		}
		for name, want := range map[string]string{"TTL": "90", "Urgency": "high", "Topic": "waiting", "Content-Encoding": "aes128gcm"} {
			if m.Header.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, m.Header.Get(name), want)
			}
		}
	}
	if !reached[phone] || !reached[laptop] || len(g.push.Received) != 0 {
		t.Errorf("reached %v, and %d others", reached, len(g.push.Received))
	}
	err = g.service.Send(t.Context(), "carla", g.now.Add(time.Minute))
	if !errors.Is(err, notice.ErrNoAddress) {
		t.Errorf("a customer without devices: %v", err)
	}
}

// What push services answer decides what becomes of a message and of a subscription.
func TestAnswers(t *testing.T) {
	for status, test := range map[int]struct {
		left            string
		gone, permanent bool
	}{
		404: {"", true, false}, 410: {"", true, false}, 400: {"phone", false, true}, 403: {"phone", false, true}, 413: {"phone", false, true},
		307: {"phone", false, true}, 429: {"phone", false, false}, 500: {"phone", false, false}, 503: {"phone", false, false},
	} {
		g := newRig(t, "127.0.0.0/8")
		g.subscribe("anna", "phone")
		g.push.Answer(status)
		err := g.service.Send(t.Context(), "anna", g.now.Add(time.Minute))
		if err == nil || errors.Is(err, notice.ErrNoAddress) != test.gone || notice.IsPermanent(err) != test.permanent {
			t.Errorf("%d: got %v", status, err)
		}
		if err != nil && strings.Contains(err.Error(), "/send/") {
			t.Errorf("%d: the error tells the address: %v", status, err)
		}
		if left := g.labels("anna"); left != test.left {
			t.Errorf("%d: %q is left, want %q", status, left, test.left)
		}
	}
}

// An address that a browser names leads nowhere but to public servers (threats.md
// no. 14): the dialer looks at the address itself, not at the name.
func TestClosedNetworks(t *testing.T) {
	g := newRig(t)
	g.subscribe("anna", "phone")
	err := g.service.Send(t.Context(), "anna", g.now.Add(time.Minute))
	if err == nil || !strings.Contains(err.Error(), "closed network") || len(g.push.Received) != 0 {
		t.Errorf("got %v", err)
	}
}

// A customer has a limited number of subscriptions, of which the oldest go; an
// endpoint belongs to who subscribed last; nobody can remove another one's.
func TestSubscriptions(t *testing.T) {
	g := newRig(t, "127.0.0.0/8")
	for _, label := range []string{"one", "two", "three", "four"} {
		g.subscribe("anna", label)
	}
	shared := g.subscribe("anna", "five")
	if got := g.labels("anna"); got != "three four five" {
		t.Errorf("anna has %q", got)
	}
	g.keep("ben", "tablet", shared)
	if got := g.labels("anna"); got != "three four" {
		t.Errorf("after ben has subscribed on the same device, anna has %q", got)
	}
	id := webpush.ID(shared.Endpoint)
	for _, test := range [][2]string{{"anna", "tablet"}, {"ben", ""}} {
		err := g.service.Remove(t.Context(), test[0], id)
		if err != nil {
			t.Error(err)
		}
		if got := g.labels("ben"); got != test[1] {
			t.Errorf("after %s has removed it, ben has %q, want %q", test[0], got, test[1])
		}
	}
	// What lies in the store tells nobody where to send.
	records, err := g.store.List(t.Context(), "idp.push", store.Index{Name: "subject", Value: "anna"}, "", 10)
	if err != nil || len(records) != 2 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for _, record := range records {
		if strings.Contains(string(record.Data), "127.0.0.1") || strings.Contains(string(record.Data), "/send/") {
			t.Errorf("the store has %s", record.Data)
		}
	}
}

// Of many nodes that need the first key at once, all get the same.
func TestOneKey(t *testing.T) {
	g := newRig(t)
	keys := make([]string, 64)
	var race sync.WaitGroup
	for i := range keys {
		node := g.node(http.DefaultClient)
		race.Go(func() { keys[i], _ = node.PublicKey(t.Context()) })
	}
	race.Wait()
	slices.Sort(keys)
	if keys[0] == "" || len(slices.Compact(keys)) != 1 {
		t.Errorf("there are the keys %v", slices.Compact(keys))
	}
}

func TestParseSubscription(t *testing.T) {
	good := pushtest.New(t).Subscribe()
	long := "https://push.example.com/" + strings.Repeat("a", 2048)
	for name, s := range map[string][3]string{
		"plain http": {"http://push.example.com/1", good.P256DH, good.Auth}, "no host": {"https:///1", good.P256DH, good.Auth},
		"user": {"https://a:b@push.example.com/1", good.P256DH, good.Auth}, "script": {"javascript:alert(1)", good.P256DH, good.Auth},
		"fragment": {"https://push.example.com/1#x", good.P256DH, good.Auth}, "long": {long, good.P256DH, good.Auth},
		"short key": {good.Endpoint, good.P256DH[:40], good.Auth}, "no point": {good.Endpoint, "BA" + strings.Repeat("A", 85), good.Auth},
		"padding": {good.Endpoint, good.P256DH + "=", good.Auth}, "short secret": {good.Endpoint, good.P256DH, good.Auth[:20]}, "nothing": {},
	} {
		_, err := webpush.ParseSubscription(s[0], s[1], s[2])
		if !errors.Is(err, webpush.ErrSubscription) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && s[0] != "" && strings.Contains(err.Error(), s[0]) {
			t.Errorf("%s: the error tells the address: %v", name, err)
		}
	}
}

func TestCheckContact(t *testing.T) {
	for _, contact := range []string{"mailto:ops@bank.example", "https://bank.example.com/contact"} {
		err := webpush.CheckContact(contact)
		if err != nil {
			t.Errorf("%s: %v", contact, err)
		}
	}
	for _, contact := range []string{
		"", "ops@bank.example", "mailto:ops", "mailto:ops@localhost", "mailto:ops@bank.local", "mailto:ops@bank.invalid", "mailto:a@b.example, c@d.example",
		"mailto:Ops <ops@bank.example>", "http://bank.example", "https://localhost", "https://192.0.2.1/", "https://[2001:db8::1]/", "https://a:b@bank.example", "https://bank.example.",
		"tel:+43123", "mailto:ops@10.0.0.1",
	} {
		err := webpush.CheckContact(contact)
		if err == nil {
			t.Errorf("%s was taken", contact)
		}
	}
}
