package idp

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval/notice"
	"github.com/caddyciba/gateway/idp/approval/webpush"
	"github.com/caddyciba/gateway/idp/approval/webpush/pushtest"
)

// withWebPush is a config with push messages over the service.
func withWebPush(push *pushtest.Service) string {
	return withNotifiers(site, "notify web_push mailto:ops@bank.example {", "	networks 127.0.0.0/8", "	ca "+push.CAFile(), "}")
}

// subscribed subscribes a browser for anna.
func (s *server) subscribed(issuer string, push *pushtest.Service) *pushtest.Browser {
	s.t.Helper()
	b := push.Subscribe()
	sub, err := webpush.ParseSubscription(b.Endpoint, b.P256DH, b.Auth)
	if err != nil {
		s.t.Fatal(err)
	}
	err = s.instance(issuer).push.Subscribe(s.t.Context(), "anna", sub, "phone")
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// A request reaches the customer's browser, and says nothing of what it is about. A
// subscription that has ended is gone after it; then nobody is there to tell.
func TestWebPush(t *testing.T) {
	s := newServer(t)
	push := pushtest.New(t)
	s.load(withWebPush(push))
	issuer := s.url("")
	browser := s.subscribed(issuer, push)
	s.start(issuer, "transfers")
	m := <-push.Received
	if m.Browser != browser || m.Text != `{"waiting":true}` || m.Claims["sub"] != "mailto:ops@bank.example" {
		t.Errorf("got %+v", m)
	}
	push.Answer(http.StatusGone)
	s.start(issuer)
	wait(t, "the subscription to end", func() bool {
		devices, err := s.instance(issuer).push.Devices(t.Context(), "anna")
		return err == nil && len(devices) == 0
	})
	wait(t, "the counts", func() bool {
		return counted(t, collectors.notifications, issuer, "web_push", "sent") == 1 && counted(t, collectors.notifications, issuer, "web_push", "skipped") == 1
	})
}

// A push service that takes the message and never answers costs the client nothing:
// its answer is there before the notifier has come to an end (CIBA checklist R5).
func TestDeadPushService(t *testing.T) {
	s := newServer(t)
	push := pushtest.New(t)
	release := push.Hold()
	defer release()
	s.load(withWebPush(push))
	issuer := s.url("")
	s.subscribed(issuer, push)
	id := s.start(issuer)
	if n := counted(t, collectors.notifications, issuer, "web_push"); n != 0 || len(push.Received) != 0 {
		t.Errorf("the notifier has ended before the answer: %v", n)
	}
	s.approve(issuer)
	status, answer := s.poll(issuer, id)
	if status != 200 {
		t.Errorf("after the approval: %d %v", status, answer)
	}
}

func TestWebPushMistakes(t *testing.T) {
	for want, w := range map[string]*WebPushNotifier{
		"web_push has no contact":      {},
		"contact must be a real":       {Contact: "mailto:ops@localhost"},
		"per_user is 51":               {Contact: "mailto:ops@bank.example", PerUser: 51},
		"web_push networks":            {Contact: "mailto:ops@bank.example", Networks: []string{"here"}},
		"reading web_push ca: open /n": {Contact: "mailto:ops@bank.example", CAFiles: []string{"/none"}},
	} {
		err := w.Provision(caddy.Context{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	err := new(WebPushNotifier).Notify(t.Context(), waiting())
	if !notice.IsPermanent(err) {
		t.Errorf("outside of a provider: %v", err)
	}
	newServer(t)
	err = provision(t, `{"handler": "ciba_idp", "issuer": "https://id.example.com", "notifiers": [
		{"notifier": "web_push", "contact": "mailto:a@bank.example"}, {"notifier": "web_push", "contact": "mailto:b@bank.example"}]}`)
	if err == nil || !strings.Contains(err.Error(), "web_push is configured twice") {
		t.Errorf("got %v", err)
	}
}
