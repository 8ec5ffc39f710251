package caddyciba

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
	"github.com/caddyciba/gateway/caddyciba/porttest"
	_ "github.com/caddyciba/gateway/caddyciba/store/caddystore"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "caddyciba")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		_ = os.Setenv(name, dir)
	}
	_ = os.Setenv("CIBA_CLIENT_ID", testClientID)
	_ = os.Setenv("CIBA_CLIENT_SECRET", testClientSecret)
	if file := os.Getenv(childConfig); file != "" {
		beChild(file)
	}
	code := browsertest.Main(m)
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// A site is one running Caddy with one site. There is one Caddy per process, so
// tests that use it are not parallel.
type site struct {
	t     *testing.T
	addr  string
	admin string
	// host is the host that callers name, if it is not that of addr.
	host string
	// build makes the Caddyfile from what stands between the site's braces.
	build func(body string) string
}

// startSite runs Caddy with the directives of one site. Global holds more
// global options.
func startSite(t *testing.T, global, body string) *site {
	t.Helper()
	s := newSite(t, global)
	err := s.load(body)
	if err != nil {
		t.Fatalf("loading configuration: %v", err)
	}
	return s
}

func newSite(t *testing.T, global string) *site {
	t.Helper()
	s := &site{t: t, addr: freeAddr(t), admin: freeAddr(t)}
	s.build = func(body string) string {
		return fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tauto_https off\n\tskip_install_trust\n\tlog {\n\t\tlevel ERROR\n\t}\n%s\n}\nhttp://%s {\n%s\n}\n",
			s.admin, global, s.addr, body)
	}
	t.Cleanup(func() {
		err := caddy.Stop()
		if err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
		eventually(t, "all gates to be released", func() bool {
			count := 0
			gates.Range(func(any, any) bool { count++; return true })
			return count == 0
		})
	})
	return s
}

func adapt(t testing.TB, caddyfile string) ([]byte, error) {
	t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// load adapts and loads in-process.
func (s *site) load(body string) error {
	s.t.Helper()
	config, err := adapt(s.t, s.build(body))
	if err != nil {
		return err
	}
	err = caddy.Load(config, true)
	porttest.Settle(s.t, s.addr)
	return err
}

// reload replaces the configuration through the admin API, as `caddy reload`
// does.
func (s *site) reload(body string) {
	s.t.Helper()
	config, err := adapt(s.t, s.build(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+s.admin+"/load", bytes.NewReader(config))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Cache-Control", "must-revalidate")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("reload: %s: %s", resp.Status, text)
	}
	porttest.Settle(s.t, s.addr)
}

// An answer is what a caller got.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// problem decodes the answer as a problem document.
func (a answer) problem(t *testing.T) map[string]any {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("content type %q, status %d, body %q; want a problem document", got, a.status, a.body)
	}
	doc := make(map[string]any)
	err := json.Unmarshal([]byte(a.body), &doc)
	if err != nil {
		t.Fatalf("decoding problem %q: %v", a.body, err)
	}
	return doc
}

// wantProblem checks status, kind and whether the upstream has seen anything.
func (a answer) wantProblem(t *testing.T, status int, kind string, forwarded any) {
	t.Helper()
	if a.err != nil {
		t.Fatalf("request failed: %v", a.err)
	}
	doc := a.problem(t)
	if a.status != status || !strings.HasSuffix(fmt.Sprint(doc["type"]), ":"+kind) || doc["forwarded"] != forwarded {
		t.Errorf("got %d %v, want %d %s forwarded=%v", a.status, doc, status, kind, forwarded)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q, want no-store", got)
	}
}

const transfer = `{"debtor":{"customer_id":"alice"},"creditor":{"name":"Bob"},"amount":"100.00","currency":"EUR"}`

// post sends a transfer and waits for the answer.
func (s *site) post(path, body string) answer {
	return s.do(http.MethodPost, path, body, http.Header{"Content-Type": {"application/json"}})
}

// do sends a request. Connections that the kernel still had for a listener which a
// reload has just closed are reset; nothing was sent then, and it is tried again.
func (s *site) do(method, path, body string, header http.Header) answer {
	for tries := 1; ; tries++ {
		a := s.doOnce(method, path, body, header)
		var dial *net.OpError
		if tries == 3 || !errors.As(a.err, &dial) || dial.Op != "dial" {
			return a
		}
	}
}

func (s *site) doOnce(method, path, body string, header http.Header) answer {
	req, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	req.Host = s.host
	for name, values := range header {
		req.Header[name] = values
	}
	client := &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(text), err: err}
}

// postLater sends a transfer and returns at once.
func (s *site) postLater(path, body string) <-chan answer {
	done := make(chan answer, 1)
	go func() { done <- s.post(path, body) }()
	return done
}

// A bank is an upstream that writes down what it gets.
type bank struct {
	*httptest.Server
	mu   sync.Mutex
	seen []received
	// handle answers in place of the standard answer.
	handle http.HandlerFunc
}

// received is one request as it arrived.
type received struct {
	method, target, body string
	header               http.Header
	broken               bool // the body did not come to its end
}

func newBank(t *testing.T) *bank {
	t.Helper()
	b := new(bank)
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		b.mu.Lock()
		header := r.Header.Clone()
		header.Set("Host", r.Host)
		b.seen = append(b.seen, received{r.Method, r.RequestURI, string(text), header, err != nil})
		handle := b.handle
		b.mu.Unlock()
		if handle != nil {
			handle(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "booked for "+r.Header.Get("Authorization"))
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *bank) received() []received {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]received(nil), b.seen...)
}

// wantCount checks how many requests have arrived.
func (b *bank) wantCount(t *testing.T, n int) {
	t.Helper()
	if got := b.received(); len(got) != n {
		t.Errorf("the upstream got %d requests, want %d: %+v", len(got), n, got)
	}
}

// addr is the upstream as reverse_proxy wants it.
func (b *bank) addr() string { return strings.TrimPrefix(b.URL, "http://") }

// freeAddr is an address for a server of Caddy's, or for nobody.
func freeAddr(t testing.TB) string {
	t.Helper()
	return porttest.Reserve(t)
}
