package stepup

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// provider stands in for a CIBA client and the provider behind it. Its zero
// value approves at once.
type provider struct {
	start   func(ctx context.Context, req ciba.Request) error
	wait    func(ctx context.Context) error
	types   []string // of authorization details
	details func(sent json.RawMessage) json.RawMessage
	broken  error // of discovery
	refresh string

	mu        sync.Mutex
	requests  []ciba.Request
	checks    []ciba.Check
	cancelled int
	revoked   []string
}

const testToken = "token-of-the-customer"

func (p *provider) Discover(context.Context) (*ciba.Metadata, error) {
	if p.broken != nil {
		return nil, p.broken
	}
	return &ciba.Metadata{AuthorizationDetailsTypes: p.types}, nil
}

func (p *provider) Start(ctx context.Context, req ciba.Request) (*ciba.Pending, error) {
	p.mu.Lock()
	p.requests = append(p.requests, req)
	p.mu.Unlock()
	if p.start != nil {
		err := p.start(ctx, req)
		if err != nil {
			return nil, err
		}
	}
	return &ciba.Pending{AuthReqID: "request", StartedAt: time.Now()}, nil
}

func (p *provider) Wait(ctx context.Context, _ *ciba.Pending, check ciba.Check, _ func(int, error)) (*ciba.Tokens, error) {
	p.mu.Lock()
	p.checks = append(p.checks, check)
	sent := p.requests[len(p.requests)-1].AuthorizationDetails
	p.mu.Unlock()
	if p.wait != nil {
		err := p.wait(ctx)
		if err != nil {
			return nil, err
		}
	}
	if p.details != nil {
		sent = p.details(sent)
	}
	return &ciba.Tokens{
		AccessToken:          testToken,
		RefreshToken:         p.refresh,
		TokenType:            "Bearer",
		Claims:               ciba.IDClaims{Subject: "customer-1"},
		AuthorizationDetails: sent,
	}, nil
}

func (p *provider) Cancel(context.Context, *ciba.Pending) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancelled++
	return nil
}

func (p *provider) Revoke(_ context.Context, token, _ string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked = append(p.revoked, token)
	return nil
}

// asked returns how often a customer was asked.
func (p *provider) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests)
}

func (p *provider) withdrawn() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cancelled
}

func (p *provider) revocations() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.revoked)
}

// untilDone is a customer who never decides. It ends as ciba.Client.Wait does.
func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return &ciba.Error{Op: "wait", Code: ciba.CodeCanceled, Err: ctx.Err()}
}

// events collects what a gate tells.
type events struct {
	mu   sync.Mutex
	list []Event
}

func (e *events) observe(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
}

func (e *events) types() []EventType {
	e.mu.Lock()
	defer e.mu.Unlock()
	var types []EventType
	for _, event := range e.list {
		types = append(types, event.Type)
	}
	return types
}

func (e *events) has(want EventType) bool {
	for _, have := range e.types() {
		if have == want {
			return true
		}
	}
	return false
}

// bench is a gate with everything around it.
type bench struct {
	gate   *Gate
	client *provider
	store  store.Store
	events *events
	route  *Route
	next   Next

	mu      sync.Mutex
	refused []*Refusal
}

// newBench returns a bench whose route asks customer alice about one field of a
// JSON body and whose handler behind the gate is next.
func newBench(t *testing.T, next Next, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{client: &provider{}, store: store.NewMemory(store.Options{}), events: &events{}, next: next}
	cfg := Config{
		Client:           b.client,
		Store:            b.store,
		Observe:          b.events.observe,
		UnavailableDelay: time.Millisecond,
		Reenter: func(ctx context.Context, w http.ResponseWriter, _ json.RawMessage) error {
			return b.gate.Serve(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil), b.route, b.next)
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	b.store = cfg.Store
	gate, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.gate = gate
	b.route = &Route{
		Name: "transfer",
		Ask: func(context.Context, *Snapshot, *Document) (Ask, error) {
			return Ask{Customer: "alice", Caller: "teller", Message: "Pay"}, nil
		},
	}
	return b
}

// ServeHTTP does what an adapter does.
func (b *bench) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := b.gate.Serve(w, r, b.route, b.next)
	if err == nil {
		return
	}
	var f *Refusal
	if !errors.As(err, &f) {
		panic("error is not a refusal: " + err.Error())
	}
	b.mu.Lock()
	b.refused = append(b.refused, f)
	b.mu.Unlock()
	WriteProblem(w, r, f)
}

func (b *bench) lastRefusal() *Refusal {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.refused) == 0 {
		return nil
	}
	return b.refused[len(b.refused)-1]
}

// serve starts a server for the bench.
func (b *bench) serve(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return server
}

// do sends one request without a connection.
func (b *bench) do(method, target, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, readerOf(body))
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func readerOf(body string) io.Reader {
	if body == "" {
		return nil
	}
	return strings.NewReader(body)
}

// only returns the one transaction of the bench's journal.
func (b *bench) only(t *testing.T) *Transaction {
	t.Helper()
	all := b.all(t)
	if len(all) != 1 {
		t.Fatalf("journal has %d transactions, want 1", len(all))
	}
	return all[0]
}

// all returns what the journal has. It is read state by state, so that what moves
// meanwhile is seen twice or not at all: two readings must agree.
func (b *bench) all(t *testing.T) []*Transaction {
	t.Helper()
	before := b.read(t)
	for {
		all := b.read(t)
		if slices.EqualFunc(before, all, func(x, y *Transaction) bool { return x.ID == y.ID && x.State == y.State }) {
			return all
		}
		before = all
	}
}

func (b *bench) read(t *testing.T) []*Transaction {
	t.Helper()
	var all []*Transaction
	for _, state := range slices.Sorted(maps.Keys(edges)) {
		list, err := b.gate.Journal().List(context.Background(), state, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, list...)
	}
	return all
}

// proxy is a Next of the standard library's reverse proxy.
func proxy(target string, transport http.RoundTripper) Next {
	to, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		var failure error
		p := &httputil.ReverseProxy{
			Rewrite:       func(pr *httputil.ProxyRequest) { pr.SetURL(to); pr.Out.Host = pr.In.Host },
			Transport:     transport,
			FlushInterval: -1,
			ErrorHandler:  func(_ http.ResponseWriter, _ *http.Request, err error) { failure = err },
		}
		p.ServeHTTP(w, r)
		return failure
	}
}

// newTransport returns a transport whose connections are closed with the test.
func newTransport(t *testing.T) *http.Transport {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// answering is a Next that answers by itself.
func answering(status int, body string) Next {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(status)
		_, err := io.WriteString(w, body)
		return err
	}
}

// counting is a Next that counts its calls and keeps the last request's body.
type counting struct {
	mu     sync.Mutex
	calls  int
	bodies []string
	header http.Header
}

func (c *counting) next(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.calls++
	c.bodies = append(c.bodies, string(body))
	c.header = r.Header.Clone()
	c.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// eventually waits for what another goroutine will do.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to this: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
