package approval

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
	"github.com/caddyciba/gateway/idp/approval/webpush/pushtest"
)

// allow sets the permission of the page to show notifications.
func (b *tab) allow(setting cdpbrowser.PermissionSetting) {
	b.t.Helper()
	b.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
			Permission: &cdpbrowser.PermissionDescriptor{Name: "notifications"}, Setting: setting, Origin: b.url,
			BrowserContextID: chromedp.FromContext(b.Context()).BrowserContextID,
		})
		return err
	}))
}

// stubPush replaces what needs a push service on the Internet: subscribing. The
// subscription is that of a browser of the test's own push service. Everything else
// on the page is real.
func (b *tab) stubPush(s *pushtest.Browser) {
	b.t.Helper()
	known, err := json.Marshal(map[string]any{"endpoint": s.Endpoint, "keys": map[string]string{"p256dh": s.P256DH, "auth": s.Auth}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Do(browsertest.Call(cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: fmt.Sprintf(`
		if (window.PushManager) {
			const known = %s;
			const load = () => {
				const key = sessionStorage.getItem("push");
				if (!key) return null;
				return {
					endpoint: known.endpoint, toJSON: () => known,
					options: { applicationServerKey: Uint8Array.from(key.split(","), Number).buffer },
					unsubscribe: async () => { sessionStorage.removeItem("push"); return true; },
				};
			};
			PushManager.prototype.getSubscription = async () => load();
			PushManager.prototype.subscribe = async (options) => {
				if (!options.userVisibleOnly || options.applicationServerKey.length !== 65) throw new TypeError("bad options");
				sessionStorage.setItem("push", Array.from(options.applicationServerKey).join(","));
				return load();
			};
		}`, known)}))
}

// A customer switches notifications on, sees which device is told, gets a message at
// the push service, and switches it off again; the browser's subscription ends, too.
func TestBrowserNotifications(t *testing.T) {
	push := pushtest.New(t)
	b := newTab(t, withPush(t, push))
	device := push.Subscribe()
	b.stubPush(device)
	b.allow(cdpbrowser.PermissionSettingGranted)
	b.signIn("/")
	b.installed()
	b.Has("Switch on notifications")
	b.Shoot("list-offer")
	b.Press(".offer a")
	b.Has("Switch on for this device")
	b.Shoot("notifications-off")
	b.Press("[data-push-start]")
	b.Has("This device gets notifications.")
	b.Has("(this device)")
	for _, other := range []string{"Switch on for this device", "does not allow", "cannot show", "could not be"} {
		if strings.Contains(b.Text(), other) {
			t.Errorf("the page also says %q", other)
		}
	}
	b.Shoot("notifications-on")
	err := b.g.app.cfg.Push.Send(t.Context(), "sub-alice", time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if m := <-push.Received; m.Browser != device || m.Text != `{"waiting":true}` {
		t.Errorf("the device got %+v", m)
	}
	b.Press("[data-push-id] button")
	b.Has("Switch on for this device")
	ended := browsertest.Eval[bool](b.Page, `sessionStorage.getItem("push") === null`)
	if !ended {
		t.Errorf("the browser's subscription has not ended")
	}
	devices, err := b.g.app.cfg.Push.Devices(t.Context(), "sub-alice")
	if err != nil || len(devices) != 0 {
		t.Errorf("%d devices are left, %v", len(devices), err)
	}
}

// Where the browser says no, the page says what to do.
func TestBrowserNotificationsDenied(t *testing.T) {
	push := pushtest.New(t)
	b := newTab(t, withPush(t, push))
	b.allow(cdpbrowser.PermissionSettingDenied)
	b.signIn("/notifications")
	b.Has("does not allow notifications")
	b.Shoot("notifications-denied")
}
