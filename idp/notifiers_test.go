package idp

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func init() {
	caddy.RegisterModule(new(guestNotifier))
}

// guestNotifier is a notifier that somebody else has written. How it behaves is
// its only argument.
type guestNotifier struct {
	Behavior string `json:"behavior,omitempty"`
}

// told are the notifications that guestNotifiers have received.
var told struct {
	sync.Mutex
	by      map[*guestNotifier][]*Notification
	release chan struct{} // lets notifiers go that hang
}

func (*guestNotifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: notifierNamespace + ".test_guest", New: func() caddy.Module { return new(guestNotifier) }}
}

func (g *guestNotifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&g.Behavior) {
		return d.ArgErr()
	}
	return nil
}

func (g *guestNotifier) Notify(ctx context.Context, n *Notification) error {
	told.Lock()
	told.by[g] = append(told.by[g], n)
	release := told.release
	told.Unlock()
	switch g.Behavior {
	case "fail":
		return errors.New("no such number")
	case "panic":
		panic(n.Request.BindingMessage)
	case "hang":
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	return nil
}

// notifications forgets what was told before, and returns what is told from now on
// to notifiers of one behavior.
func notifications(t *testing.T) func(behavior string) (notifiers int, all []*Notification) {
	t.Helper()
	told.Lock()
	told.by, told.release = make(map[*guestNotifier][]*Notification), make(chan struct{})
	release := told.release
	told.Unlock()
	t.Cleanup(func() { close(release) })
	return func(behavior string) (int, []*Notification) {
		told.Lock()
		defer told.Unlock()
		var all []*Notification
		notifiers := 0
		for g, some := range told.by {
			if g.Behavior == behavior {
				notifiers++
				all = append(all, some...)
			}
		}
		return notifiers, all
	}
}

// withNotifiers adds notifiers to the provider of a config.
func withNotifiers(config string, notifiers ...string) string {
	return strings.Replace(config, "store memory", "store memory\n\t\t"+strings.Join(notifiers, "\n\t\t"), 1)
}

// A notifier that somebody has registered is told of each request once, with what
// it needs to reach the customer and nothing that it must not know.
func TestGuestNotifier(t *testing.T) {
	s := newServer(t)
	all := notifications(t)
	s.load(withNotifiers(site, "notify test_guest work", "notify log"))
	issuer := s.url("")
	s.start(issuer, "transfers")
	wait(t, "the notification", func() bool { _, got := all("work"); return len(got) == 1 })
	_, got := all("work")
	n := got[0]
	if n.Issuer != issuer || n.Request.Subject != "anna" || n.Request.BindingMessage != "Pay 10 EUR" || n.Request.Client.ID != "gateway" {
		t.Errorf("was told %+v of %+v", n, n.Request)
	}
	if n.User == nil || n.User.Name != "Anna Berg" || n.User.PasswordHash != "" || n.User.UserCodeHash != "" {
		t.Errorf("was told of the user %+v", n.User)
	}
	// The address is that of the page on which the customer decides.
	c := newCustomer(s, issuer)
	c.signIn()
	page := string(c.get(n.URL))
	if !strings.Contains(page, "Pay 10 EUR") {
		t.Errorf("%s shows\n%s", n.URL, page)
	}
}

// A notifier that fails, panics or hangs delays and fails neither the answer to the
// client (CIBA checklist R5) nor the other notifiers.
func TestBrokenNotifiers(t *testing.T) {
	s := newServer(t)
	all := notifications(t)
	s.load(withNotifiers(site, "notify test_guest hang", "notify test_guest panic", "notify test_guest fail", "notify test_guest work"))
	issuer := s.url("")
	core, logs := observer.New(zap.DebugLevel)
	in := s.instance(issuer)
	used := *in.out.current.Load()
	used.logger = zap.New(core)
	defer in.out.use(&used)()
	outcome := func(outcome string) float64 {
		return counted(t, collectors.notifications, issuer, outcome)
	}
	begin := time.Now()
	id := s.start(issuer)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("the answer took %s", took)
	}
	wait(t, "all notifiers to be called", func() bool {
		for _, behavior := range []string{"hang", "panic", "fail", "work"} {
			_, got := all(behavior)
			if len(got) != 1 {
				return false
			}
		}
		return outcome("retried") == 1 && outcome("failed") == 1 && outcome("sent") == 1
	})
	s.approve(issuer)
	status, answer := s.poll(issuer, id)
	if status != 200 {
		t.Errorf("after the approval: %d %v", status, answer)
	}
	if logs.FilterMessageSnippet("the customer was not notified").Len() != 2 || logs.FilterMessage("a module has panicked").Len() != 1 {
		t.Errorf("the log has %v", logs.AllUntimed())
	}
	for _, entry := range logs.AllUntimed() {
		for key, value := range entry.ContextMap() {
			text, _ := value.(string)
			if strings.Contains(text, "Pay 10 EUR") {
				t.Errorf("the log tells in %s what the request is about: %s", key, text)
			}
		}
	}
}

// A reload that changes nothing about the provider keeps the instance, which from
// then on uses the modules of the new config. One that changes notifiers makes a
// new instance. Neither takes back a notification that is on its way.
func TestNotifiersAcrossReload(t *testing.T) {
	s := newServer(t)
	all := notifications(t)
	config := withNotifiers(site, "notify test_guest work", "notify test_guest hang")
	s.load(config)
	issuer := s.url("")
	before := s.instance(issuer)
	s.start(issuer)
	wait(t, "the first notification", func() bool { _, got := all("hang"); return len(got) == 1 })

	s.load(config + "http://127.0.0.1:<port> {\n\trespond ok\n}\n")
	if s.instance(issuer) != before {
		t.Error("the instance has changed")
	}
	s.start(issuer)
	wait(t, "the second notification", func() bool { _, got := all("work"); return len(got) == 2 })
	if notifiers, _ := all("work"); notifiers != 2 {
		t.Errorf("both notifications went to the module of the first config")
	}

	s.load(strings.ReplaceAll(config, "guest work", "guest other"))
	if s.instance(issuer) == before {
		t.Error("the instance has not changed")
	}
	s.start(issuer)
	wait(t, "the third notification", func() bool { _, got := all("other"); return len(got) == 1 })
	if sent := counted(t, collectors.notifications, issuer, "sent"); sent != 3 {
		t.Errorf("%v notifications were sent, not 3", sent)
	}
}
