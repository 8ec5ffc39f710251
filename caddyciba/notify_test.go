package caddyciba

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// notifyingSite is a site whose provider tells of decisions by itself.
func notifyingSite(t *testing.T, op *fakeOP, b *bank, mode string) *site {
	t.Helper()
	return startSite(t,
		fmt.Sprintf("ciba {\n\tstore memory %s\n\tprovider corp {\n\t\tissuer %s\n\t\tdelivery %s\n\t\tlong_poll off\n\t}\n}", t.Name(), op.URL, mode),
		fmt.Sprintf("ciba_notify\nciba corp {\n\tcustomer alice\n\tmessage Transfer\n}\nreverse_proxy %s", b.addr()))
}

// notify sends a notification to the site and returns the status.
func (s *site) notify(path, token string, body map[string]any) int {
	s.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(http.MethodPost, path, string(data), http.Header{
		"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token},
	}).status
}

// A ping brings the approval to the upstream at once, where the next poll by itself
// would come after 30 seconds. threats.md N01, N03; CIBA checklist P1, P8.
func TestPing(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := notifyingSite(t, op, b, "ping")
	done := s.postLater("/transfers", transfer)
	op.waitStarted(1)
	eventually(t, "the first poll", func() bool { return op.polls(0) == 1 })
	request := op.started()[0]
	token := request.form.Get("client_notification_token")
	for name, row := range map[string]struct {
		path, token string
		body        map[string]any
		want        int
	}{
		"no token":        {"/.ciba/ping/corp", "", map[string]any{"auth_req_id": request.id}, 401},
		"another token":   {"/.ciba/ping/corp", token + "x", map[string]any{"auth_req_id": request.id}, 401},
		"another request": {"/.ciba/ping/corp", token, map[string]any{"auth_req_id": "other"}, 400},
		"tokens":          {"/.ciba/ping/corp", token, map[string]any{"auth_req_id": request.id, "access_token": "a"}, 400},
	} {
		if got := s.notify(row.path, row.token, row.body); got != row.want {
			t.Errorf("%s: answered %d, want %d", name, got, row.want)
		}
	}
	op.setDecision(approve)
	began := time.Now()
	if got := s.notify("/.ciba/ping/corp", token, map[string]any{"auth_req_id": request.id}); got != http.StatusNoContent {
		t.Errorf("answered %d", got)
	}
	if got := <-done; got.status != http.StatusCreated {
		t.Errorf("got %+v", got)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	b.wantCount(t, 1)
	if n := op.polls(0); n != 2 {
		t.Errorf("%d polls", n)
	}
	// The provider may repeat a ping, and nothing comes of it.
	if got := s.notify("/.ciba/ping/corp", token, map[string]any{"auth_req_id": request.id}); got != http.StatusNoContent {
		t.Errorf("the second ping was answered %d", got)
	}
	b.wantCount(t, 1)
}

// Other spellings and other providers' paths are not the endpoint: they are what
// the rest of the site makes of them.
func TestNotifyPaths(t *testing.T) {
	op := newFakeOP(t)
	s := startSite(t, fmt.Sprintf("ciba {\n\tstore memory\n\tprovider corp {\n\t\tissuer %s\n\t\tdelivery ping\n\t}\n}", op.URL),
		"ciba_notify\nrespond 418")
	for path, want := range map[string]int{
		"/.ciba/ping/corp": 401, "/.ciba/ping/Corp": 418, "/.ciba/ping/corp/": 418, "/.CIBA/ping/corp": 418,
		"/.ciba/push/corp": 418, "/.ciba/ping/": 418, "/.ciba/%70ing/corp": 418, "/.ciba/ping/other": 418,
	} {
		if got := s.notify(path, "token", map[string]any{"auth_req_id": "x"}); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

// In push mode the provider brings the tokens; nobody polls. CIBA checklist X1, X2.
func TestPush(t *testing.T) {
	for _, row := range []struct {
		name    string
		body    func(op *fakeOP, r *fakeRequest) map[string]any
		answer  int
		status  int
		problem string
	}{
		{"approved", pushedTokens, 204, 201, ""},
		{"denied", func(_ *fakeOP, r *fakeRequest) map[string]any {
			return map[string]any{"auth_req_id": r.id, "error": "access_denied"}
		}, 204, 403, "approval-denied"},
		{"another access token", func(op *fakeOP, r *fakeRequest) map[string]any {
			body := pushedTokens(op, r)
			body["access_token"] = "stolen"
			return body
		}, 400, 403, "approval-mismatch"},
	} {
		t.Run(row.name, func(t *testing.T) {
			op, b := newFakeOP(t), newBank(t)
			s := notifyingSite(t, op, b, "push")
			done := s.postLater("/transfers", transfer)
			op.waitStarted(1)
			request := op.started()[0]
			token := request.form.Get("client_notification_token")
			body := row.body(op, request)
			eventually(t, "the push to be taken", func() bool {
				return s.notify("/.ciba/push/corp", token, body) == row.answer
			})
			got := <-done
			if row.problem != "" {
				got.wantProblem(t, row.status, row.problem, false)
				b.wantCount(t, 0)
			} else {
				b.wantCount(t, 1)
				if got.status != row.status || got.body != "booked for Bearer pushed-token" {
					t.Errorf("got %+v", got)
				}
			}
			if op.polls(0) != 0 {
				t.Errorf("%d polls", op.polls(0))
			}
		})
	}
}

func pushedTokens(op *fakeOP, r *fakeRequest) map[string]any {
	op.claims = func(claims map[string]any) { claims["at_hash"] = atHash("pushed-token") }
	return map[string]any{
		"auth_req_id": r.id, "access_token": "pushed-token", "token_type": "Bearer", "expires_in": 300, "id_token": op.idToken(r),
	}
}

// atHash is the claim of an ID Token that was signed by ES256.
func atHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// polls is how often a request was polled.
func (op *fakeOP) polls(request int) int {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.requests[request].polls
}

// A notification that comes to one node wakes the request that another one holds,
// and what is stored opens nothing. threats.md T02.
func TestInboxAcrossNodes(t *testing.T) {
	shared := store.NewMemory(store.Options{})
	here, there := newInbox(shared, false, "https://id.example.com", "gateway"), newInbox(shared, false, "https://id.example.com", "gateway")
	p := &ciba.Pending{AuthReqID: "request-1", NotificationToken: "token-1", ExpiresAt: time.Now().Add(time.Minute)}
	err := here.expect(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	hash := ciba.HashNotification("token-1")
	changes, stop := shared.Watch(noticeKind, noticeID(hash))
	defer stop()
	request, err := there.Expected(t.Context(), hash)
	if err != nil || request != ciba.HashNotification("request-1") {
		t.Errorf("expected %x, %v", request, err)
	}
	err = there.Ping(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-changes:
	default:
		t.Error("nobody was woken")
	}
	// A flood is written down once.
	for range 100 {
		_ = there.Ping(t.Context(), hash)
	}
	record, err := shared.Get(t.Context(), noticeKind, noticeID(hash))
	if err != nil || record.Version != 2 {
		t.Errorf("version %d, %v", record.Version, err)
	}
	err = there.Push(t.Context(), ciba.Pushed{Token: "token-1", Body: []byte(`{"access_token":"secret-token"}`)})
	if err != nil {
		t.Fatal(err)
	}
	record, err = shared.Get(t.Context(), noticeKind, noticeID(hash))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"token-1", "request-1", "secret-token"} {
		if bytes.Contains(record.Data, []byte(secret)) || strings.Contains(record.ID, secret) {
			t.Errorf("the store has %s", secret)
		}
	}
	_, n, err := here.read(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	body, err := unseal("token-1", n.Pushed)
	if err != nil || string(body) != `{"access_token":"secret-token"}` {
		t.Errorf("opened %q, %v", body, err)
	}
	_, err = unseal("token-2", n.Pushed)
	if err == nil {
		t.Error("another token opens it")
	}
	// Another provider, or another client of this one, has no say.
	for _, other := range []*inbox{newInbox(shared, false, "https://id.example.com", "other"), newInbox(shared, false, "https://evil.example", "gateway")} {
		_, err = other.Expected(t.Context(), hash)
		if err == nil {
			t.Error("another provider is heard")
		}
	}
}

// In a process that has the store for itself a ping is not written down: whoever
// waits hears of it, whatever gate it comes to, and a flood of pings is nothing. Who
// waits at another client does not.
func TestInboxOfOneProcess(t *testing.T) {
	const issuer = "https://id.example.com"
	shared := store.NewMemory(store.Options{})
	here, there := newInbox(shared, true, issuer, "gateway"), newInbox(shared, true, issuer, "gateway")
	p := &ciba.Pending{AuthReqID: "request-1", NotificationToken: "token-2", ExpiresAt: time.Now().Add(time.Minute)}
	err := here.expect(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	hash := ciba.HashNotification(p.NotificationToken)
	wake, stop := here.listen(ciba.DeliveryPing, p)
	other := newInbox(shared, true, issuer, "other")
	_, err = other.Expected(t.Context(), hash)
	if err == nil || other.Ping(t.Context(), hash) == nil || len(wake) != 0 {
		t.Errorf("another client is heard: %v, %d", err, len(wake))
	}
	request, err := there.Expected(t.Context(), hash)
	if err != nil || request != ciba.HashNotification("request-1") {
		t.Errorf("expected %x, %v", request, err)
	}
	for range 100 {
		err = there.Ping(t.Context(), hash)
		if err != nil {
			t.Fatal(err)
		}
	}
	_, n, err := here.read(t.Context(), hash)
	if err != nil || !n.Pinged.IsZero() || len(wake) != 1 {
		t.Errorf("pinged %s, %d wait to be heard, %v", n.Pinged, len(wake), err)
	}
	// When nobody waits, it is written down for who comes.
	stop()
	err = there.Ping(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	_, n, err = here.read(t.Context(), hash)
	if err != nil || n.Pinged.IsZero() {
		t.Errorf("pinged %s, %v", n.Pinged, err)
	}
	request, err = there.Expected(t.Context(), hash)
	if err != nil || request != ciba.HashNotification("request-1") || listeners.find(here.client, hash) != nil {
		t.Errorf("expected %x, %v", request, err)
	}
}
