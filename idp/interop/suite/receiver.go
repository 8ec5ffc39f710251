package suite

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// pathNotification is the path of the notification endpoint behind the alias.
const pathNotification = "/ciba-notification-endpoint"

// pathInvalid is where the endpoint redirects to in one module. Nobody must go
// there.
const pathInvalid = "/invalid-ciba-notification-endpoint"

// How long the suite waits for a notification, in real time.
const (
	pingTimeout     = 10 * time.Second
	optionalTimeout = 2 * time.Second
)

// Receiver is the notification endpoint of all configurations. It is an
// [http.Handler], safe for concurrent use.
type Receiver struct {
	mu    sync.Mutex
	boxes map[string]*inbox
}

// NewReceiver returns a receiver without configurations.
func NewReceiver() *Receiver { return &Receiver{boxes: make(map[string]*inbox)} }

// NotificationPath is the path of the notification endpoint of a configuration,
// below the URL of the server that the receiver is mounted in.
func NotificationPath(alias string) string { return "/test/a/" + alias + pathNotification }

func (v *Receiver) open(alias string) *inbox {
	v.mu.Lock()
	defer v.mu.Unlock()
	box := v.boxes[alias]
	if box == nil {
		box = &inbox{calls: make(chan call, 64)}
		v.boxes[alias] = box
	}
	return box
}

// ServeHTTP takes a notification.
func (v *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/test/a/")
	alias, path, _ := strings.Cut(rest, "/")
	v.mu.Lock()
	box := v.boxes[alias]
	v.mu.Unlock()
	if !ok || box == nil {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	c := call{method: r.Method, path: "/" + path, header: r.Header.Clone(), body: body, err: err}
	if r.TLS != nil {
		c.tls = r.TLS.Version
	}
	answer := box.answer()
	box.calls <- c
	if c.path != pathNotification {
		http.NotFound(w, r)
		return
	}
	if answer.location != "" {
		w.Header().Set("Location", "/test/a/"+alias+answer.location)
	}
	w.WriteHeader(answer.status)
	_, _ = io.WriteString(w, answer.body) // the sender need not read it
}

// call is a request to the notification endpoint.
type call struct {
	method string
	path   string
	header http.Header
	body   []byte
	tls    uint16
	err    error
}

// reply is how the notification endpoint answers.
type reply struct {
	status         int
	body, location string
}

// inbox is the notification endpoint of one configuration.
type inbox struct {
	mu    sync.Mutex
	reply reply
	calls chan call
}

// reset has the endpoint behave well again.
func (b *inbox) reset() { b.behave(reply{status: http.StatusNoContent}) }

func (b *inbox) behave(a reply) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reply = a
}

func (b *inbox) answer() reply {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reply
}

// expectPing waits for the notification of a request and checks it.
func (r *run) expectPing(s *started) {
	r.Helper()
	if !r.awaitPing(s, pingTimeout) {
		r.Fatal("there was no notification")
	}
}

// mayPing waits a little for a notification that is optional.
func (r *run) mayPing(s *started) {
	r.Helper()
	r.awaitPing(s, optionalTimeout)
}

// awaitPing checks the notification of a request, if there is one in time.
func (r *run) awaitPing(s *started, timeout time.Duration) bool {
	r.Helper()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case c := <-r.inbox.calls:
		r.checkPing(s, c)
		return true
	case <-timer.C:
		return false
	}
}

// checkPing checks a notification.
func (r *run) checkPing(s *started, c call) {
	r.Helper()
	switch {
	case c.err != nil:
		r.Fatalf("reading notification: %v", c.err)
	case c.method != http.MethodPost || c.path != pathNotification:
		r.Fatalf("notification is a %s of %s", c.method, c.path)
	case c.header.Get("Authorization") != "Bearer "+s.token:
		r.Fatal("notification does not have the client_notification_token")
	case !strings.HasPrefix(c.header.Get("Content-Type"), "application/json"):
		r.Fatalf("notification is of the type %q", c.header.Get("Content-Type"))
	case c.tls != tls.VersionTLS13:
		r.Errorf("notification came by %s", tls.VersionName(c.tls))
	}
	var body map[string]any
	err := json.Unmarshal(c.body, &body)
	if err != nil || len(body) != 1 || body["auth_req_id"] != s.authReqID {
		r.Fatalf("notification is %s", c.body)
	}
}

// expectNoNotification fails if the provider notifies within a time.
func (r *run) expectNoNotification(during time.Duration) {
	r.Helper()
	if r.inbox == nil {
		return
	}
	time.Sleep(during)
	select {
	case c := <-r.inbox.calls:
		r.Fatalf("there was a notification that must not be: %s %s %s", c.method, c.path, c.body)
	default:
	}
}
