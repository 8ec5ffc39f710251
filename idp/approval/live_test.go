package approval

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// stream is an open stream of events.
type stream struct {
	t    *testing.T
	resp *http.Response
	in   *bufio.Scanner
}

// events opens a stream at a served app.
func (b *browser) events(t *testing.T, url string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = testHost
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &stream{t: t, resp: resp, in: bufio.NewScanner(resp.Body)}
}

// next returns the data of the next event.
func (s *stream) next() string {
	s.t.Helper()
	for s.in.Scan() {
		data, ok := strings.CutPrefix(s.in.Text(), "data: ")
		if ok {
			return data
		}
	}
	s.t.Fatalf("the stream ended: %v", s.in.Err())
	return ""
}

func TestEvents(t *testing.T) {
	g := newRig(t)
	server := httptest.NewServer(g.app)
	t.Cleanup(server.Close)
	b := g.signedIn("alice")
	_, first := g.ask("alice", "")
	s := b.events(t, server.URL)
	if s.resp.StatusCode != http.StatusOK || s.resp.Header.Get("Content-Type") != "text/event-stream" || s.resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("stream: %d %v", s.resp.StatusCode, s.resp.Header)
	}
	if got := s.next(); got != first {
		t.Errorf("at once: %q, want %q", got, first)
	}
	g.ask("bob", "") // somebody else's request is no event
	_, second := g.ask("alice", "")
	if got := s.next(); !strings.Contains(got, first) || !strings.Contains(got, second) {
		t.Errorf("after another request: %q", got)
	}
	if w := b.decide(first, "deny"); w.Code != http.StatusSeeOther {
		t.Fatalf("deny: %d", w.Code)
	}
	if got := s.next(); got != second {
		t.Errorf("after a decision: %q, want %q", got, second)
	}
	g.app.EndStreams()
	ended := !s.in.Scan()
	if !ended {
		ended = !s.in.Scan() // the first line was the empty one that ends an event
	}
	if !ended {
		t.Errorf("the stream goes on: %q", s.in.Text())
	}
	if got := b.events(t, server.URL).next(); got != second {
		t.Errorf("a new stream: %q, want %q", got, second)
	}
}

// What expires is gone from the stream without anybody writing anything.
func TestEventsExpiry(t *testing.T) {
	g := newRig(t)
	g.clock.follow()
	server := httptest.NewServer(g.app)
	t.Cleanup(server.Close)
	b := g.signedIn("alice")
	_, id := g.ask("alice", "")
	g.clock.advance(120*time.Second - 200*time.Millisecond)
	s := b.events(t, server.URL)
	if got := s.next(); got != id {
		t.Errorf("at once: %q", got)
	}
	if got := s.next(); got != "" {
		t.Errorf("after the end: %q", got)
	}
}

// U27: a session has ten streams at most, and gets its places back.
func TestEventsLimit(t *testing.T) {
	g := newRig(t)
	server := httptest.NewServer(g.app)
	t.Cleanup(server.Close)
	b := g.signedIn("alice")
	for range sessionStreams {
		b.events(t, server.URL).next()
	}
	s := b.events(t, server.URL)
	if s.resp.StatusCode != http.StatusTooManyRequests || s.resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", s.resp.StatusCode)
	}
	if s := g.signedIn("alice").events(t, server.URL); s.resp.StatusCode != http.StatusOK {
		t.Errorf("another session: %d", s.resp.StatusCode)
	}
	g.app.EndStreams()
	for deadline := time.Now().Add(5 * time.Second); g.app.streamsOpen() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := g.app.streamsOpen(); n != 0 || len(g.app.streams.bySession) != 0 {
		t.Errorf("%d streams still counted", n)
	}
}

func (a *App) streamsOpen() int {
	a.streams.mu.Lock()
	defer a.streams.mu.Unlock()
	return a.streams.open
}

// A stream is nothing that a stranger or another page could use.
func TestEventsNeedASession(t *testing.T) {
	g := newRig(t)
	w := g.browser().get("/events")
	if w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "data:") {
		t.Errorf("without session: %d", w.Code)
	}
	if w := g.signedIn("alice").get("/sign-in?next=/events"); w.Header().Get("Location") != "/" {
		t.Errorf("sign-in leads to %q", w.Header().Get("Location"))
	}
}

// A provider that fails ends the stream; the browser will come again.
func TestEventsEndWithTheProvider(t *testing.T) {
	g := newRig(t)
	b := g.signedIn("alice")
	g.app.cfg.Provider = failing{}
	w := b.get("/events")
	body, err := io.ReadAll(w.Result().Body)
	if err != nil || strings.Contains(string(body), "data") {
		t.Errorf("%d %q %v", w.Code, body, err)
	}
}

type failing struct{ fixed }

func (failing) Pending(context.Context, string) ([]*provider.Request, error) {
	return nil, errors.New("store is down")
}

// Background fetches do not keep a session alive.
func TestBackgroundIsNoUse(t *testing.T) {
	g := newRig(t)
	b := g.signedIn("alice")
	b.header.Set("Sec-Fetch-Dest", "empty")
	for range 5 {
		g.clock.advance(DefaultSessionIdle / 5)
		b.get("/")
	}
	if w := b.get("/"); w.Code != http.StatusSeeOther {
		t.Errorf("the session lives on by fetches: %d", w.Code)
	}
}
