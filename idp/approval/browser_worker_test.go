package approval

import (
	"context"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/chromedp"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// installed waits until the service worker runs and has the pages in its care.
func (b *tab) installed() {
	b.t.Helper()
	b.Until(`navigator.serviceWorker.getRegistration().then(r => r && r.active && r.active.state === "activated")`)
}

// A page that cannot be had is replaced by one that says so; nothing that was seen
// before is shown again.
func TestBrowserOffline(t *testing.T) {
	b := newTab(t)
	_, id := b.g.ask("alice", "Sign in at counter 7")
	b.signIn("/")
	b.installed()
	b.open("/requests/" + id)
	b.Has("Sign in at counter 7")
	b.open("/")
	kept := browsertest.Eval[string](b.Page, `
		caches.keys().then(names => Promise.all(names.map(name => caches.open(name).then(c => c.keys()))))
			.then(all => all.flat().map(r => new URL(r.url).pathname).filter(p => !p.startsWith("/assets/")).join(" "))`)
	if kept != "/offline" {
		t.Errorf("kept besides files: %q", kept)
	}
	b.open("/offline") // which has no stream of events to break
	b.server.CloseClientConnections()
	b.server.Close()
	b.open("/requests/" + id)
	b.Has("No connection")
	if strings.Contains(b.Text(), "counter 7") || strings.Contains(b.Text(), "Alice") {
		t.Errorf("the page shows what was there before:\n%s", b.Text())
	}
}

// With the service worker in between, a page that is opened still counts as use of
// the session, and what the page fetches by itself still does not.
func TestBrowserWorkerPassesOn(t *testing.T) {
	b := newTab(t)
	b.signIn("/")
	b.installed()
	b.g.clock.advance(10 * time.Minute)
	before := b.sessionExpiry()
	b.Run("fetch('/').then(r => r.text())")
	if !b.sessionExpiry().Equal(before) {
		t.Error("a fetch in the background counts as use")
	}
	b.open("/")
	controlled := browsertest.Eval[bool](b.Page, "!!navigator.serviceWorker.controller")
	if !controlled {
		t.Fatalf("the service worker is not in between")
	}
	if !b.sessionExpiry().After(before) {
		t.Error("opening a page does not count as use")
	}
}

// sessionExpiry returns when alice's only session ends.
func (b *tab) sessionExpiry() time.Time {
	b.t.Helper()
	records, err := b.g.store.List(context.Background(), sessionKind, store.Index{Name: sessionSubject, Value: "sub-alice"}, "", 2)
	if err != nil || len(records) != 1 {
		b.t.Fatalf("%d sessions, %v", len(records), err)
	}
	return records[0].Expires
}

// Installing is offered on the empty list when the browser can do it, and not again
// once it was answered.
func TestBrowserInstallOffer(t *testing.T) {
	b := newTab(t)
	b.signIn("/")
	offered := func(want bool, when string) {
		t.Helper()
		b.Run(`{
			const event = new Event("beforeinstallprompt", { cancelable: true });
			event.prompt = async () => { document.title = "installing"; };
			event.userChoice = Promise.resolve({ outcome: "dismissed" });
			dispatchEvent(event);
		}`)
		shown := browsertest.Eval[bool](b.Page, `document.querySelector("[data-install] button").checkVisibility()`)
		if shown != want {
			t.Errorf("%s: offered is %v", when, shown)
		}
	}
	shown := browsertest.Eval[bool](b.Page, `document.querySelector("[data-install] button").checkVisibility()`)
	if shown {
		t.Errorf("offered by a browser that cannot: %v", shown)
	}
	offered(true, "at first")
	b.Click("[data-install] button")
	b.Until(`document.title === "installing"`)
	title := browsertest.Eval[string](b.Page, "document.title")
	if title != "installing" {
		t.Errorf("title %q", title)
	}
	b.open("/")
	offered(false, "after an answer")
}

// A push message becomes a notification that says that something waits and nothing
// else; it has no buttons.
func TestBrowserPushMessage(t *testing.T) {
	b := newTab(t)
	b.signIn("/")
	b.installed()
	ids := make(chan string, 1)
	err := chromedp.Listen(b.Context(), func(event any) {
		if e, ok := event.(*serviceworker.EventWorkerRegistrationUpdated); ok {
			for _, r := range e.Registrations {
				if strings.HasPrefix(r.ScopeURL, b.url) {
					select {
					case ids <- string(r.RegistrationID):
					default:
					}
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Do(browsertest.Call(serviceworker.Enable, cdp.Empty{}))
	b.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
			Permission: &cdpbrowser.PermissionDescriptor{Name: "notifications"}, Setting: cdpbrowser.PermissionSettingGranted, Origin: b.url,
			BrowserContextID: chromedp.FromContext(b.Context()).BrowserContextID,
		})
		return err
	}))
	var registration string
	select {
	case registration = <-ids:
	case <-time.After(30 * time.Second):
		t.Fatal("no registration")
	}
	// A push service delivers a message again that was not taken. DevTools says nothing
	// of one that the browser had no ear for.
	var shown string
	for tries := 0; shown == "" && tries < 10; tries++ {
		b.Do(browsertest.Call(serviceworker.DeliverPushMessage, serviceworker.DeliverPushMessageParams{
			Origin: b.url, RegistrationID: serviceworker.RegistrationID(registration), Data: "",
		}))
		for polls := 0; shown == "" && polls < 50; polls++ {
			shown = browsertest.Eval[string](b.Page, `navigator.serviceWorker.ready.then(r => r.getNotifications()).then(
				all => all.map(n => [n.title, n.body, n.tag, (n.actions || []).length].join("|")).join("\n"))`)
			b.Do(chromedp.Sleep(50 * time.Millisecond))
		}
	}
	if shown != "Your approval is needed|Open to see what it is about.|waiting|0" {
		t.Errorf("shown: %q", shown)
	}
}
