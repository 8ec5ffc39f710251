package caddyciba

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// An outcomeWorld is a Caddy with all gates that the table of outcomes needs, served
// over TLS in HTTP/1.1 and HTTP/2.
type outcomeWorld struct {
	t     *testing.T
	site  *site
	host  string
	op    *fakeOP
	bank  *bank
	http1 *http.Client
	http2 *http.Client

	mu       sync.Mutex
	approved map[string]bool // customers who approve from now on
}

// Customers do what they are called.
const (
	approver = "approver"
	denier   = "denier"
	sleeper  = "sleeper" // decides nothing in time
	late     = "late-"   // approves when the test says so; with the number of the case
	stranger = "stranger"
	impostor = "impostor" // the token is about somebody else
	weak     = "weak"     // the token says less of how the customer was authenticated
	changed  = "changed"  // the token is for another request
	failing  = "failing"  // the provider fails for this one
)

func newOutcomeWorld(t *testing.T) *outcomeWorld {
	t.Helper()
	w := &outcomeWorld{t: t, op: newFakeOP(t), bank: newBank(t), approved: make(map[string]bool)}
	w.op.metadata = map[string]any{"authorization_details_types_supported": []string{"http_request"}}
	w.op.decide = func(r *fakeRequest) fakeDecision {
		customer := r.form.Get("login_hint")
		switch {
		case customer == denier:
			return deny
		case customer == "expirer":
			return expire
		case customer == sleeper, strings.HasPrefix(customer, late) && !w.has(customer):
			return pending
		}
		return approve
	}
	w.op.claims = func(claims map[string]any) {
		switch claims["sub"] {
		case impostor:
			claims["sub"] = "mallory"
		case weak:
			claims["acr"] = "pwd"
		case "audience":
			claims["aud"] = "another-client"
		}
	}
	w.op.grant = func(r *fakeRequest) string {
		details := r.form.Get("authorization_details")
		if r.form.Get("login_hint") == changed {
			return strings.Replace(details, `"request_digest":"`, `"request_digest":"A`, 1)
		}
		return details
	}
	w.op.refuse = func(form url.Values) string {
		return map[string]string{stranger: "unknown_user_id", "unenrolled": "access_denied", failing: "server_error"}[form.Get("login_hint")]
	}
	w.bank.handle = w.serveBank
	w.start()
	return w
}

// serveBank is the upstream: the last part of the path says what it does.
func (w *outcomeWorld) serveBank(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Add("X-Legacy", "1")
	rw.Header().Add("X-Legacy", "2")
	rw.Header().Set("Content-Type", mortalType)
	rw.Header().Set("Retry-After", "7")
	switch {
	case strings.HasSuffix(r.URL.Path, "/reset"):
		panic(http.ErrAbortHandler)
	case strings.HasSuffix(r.URL.Path, "/hang"):
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		panic(http.ErrAbortHandler)
	case strings.HasSuffix(r.URL.Path, "/refuse"):
		rw.WriteHeader(http.StatusForbidden)
	case strings.HasSuffix(r.URL.Path, "/fail"):
		rw.WriteHeader(http.StatusServiceUnavailable)
	case strings.HasSuffix(r.URL.Path, "/break"):
		rw.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(rw, "01234")
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	default:
		rw.WriteHeader(http.StatusCreated)
	}
	_, _ = io.WriteString(rw, mortalBody)
}

// start loads the configuration.
func (w *outcomeWorld) start() {
	t, dir := w.t, w.t.TempDir()
	down, locked := newFakeOP(t), newFakeOP(t)
	down.down, locked.refuseStart = true, "unauthorized_client"
	certificate, key := dir+"/cert.pem", dir+"/key.pem"
	writeCertificate(t, certificate, key, "localhost", time.Now().Add(time.Hour))
	w.site = newSite(t, "\tservers {\n\t\tprotocols h1 h2\n\t\ttimeouts {\n\t\t\tread_body 2s\n\t\t}\n\t}\n"+memoryStore)
	_, port, _ := strings.Cut(w.site.addr, ":")
	w.host = "localhost:" + port
	build := w.site.build
	w.site.build = func(body string) string {
		text := strings.Replace(build(body), "http://"+w.site.addr, "https://"+w.host, 1)
		return strings.Replace(text, "level ERROR", "output discard", 1)
	}
	gate := func(path, provider, options string) string {
		return fmt.Sprintf("ciba /%s/* %s {\n\tmessage Transfer\n\tacr phr\n\thold 20s\n\tlimit off\n%s\n}\n", path, provider, options)
	}
	customer := "\tcustomer {header.X-Customer}"
	body := fmt.Sprintf("bind 127.0.0.1\ntls %s %s\n", certificate, key) +
		gate("p", w.op.URL, customer) +
		gate("shown", w.op.URL, customer+"\n\tmessage \"Pay {ciba.body.amount}\"\n\tmax_body 1KiB") +
		gate("short", w.op.URL, customer+"\n\thold 1s") +
		gate("anonymous", w.op.URL, "") +
		gate("down", down.URL, customer) +
		gate("locked", locked.URL, customer) +
		gate("gone", w.op.URL, customer) +
		gate("slow", w.op.URL, customer) +
		gate("few", w.op.URL, customer+"\n\tlimit 1 per customer per 1m") +
		gate("unkept", w.op.URL, customer+"\n\tmax_result 5B") +
		gate("nobody", w.op.URL, customer) +
		fmt.Sprintf("handle /nobody/* {\n\theader X-Ours 1\n}\nhandle /gone/* {\n\treverse_proxy %s\n}\n", freeAddr(t)) +
		fmt.Sprintf("handle /slow/* {\n\treverse_proxy %s {\n\t\ttransport http {\n\t\t\tresponse_header_timeout 1s\n\t\t}\n\t}\n}\n", w.bank.addr()) +
		fmt.Sprintf("handle {\n\treverse_proxy %s\n}\n", w.bank.addr())
	// An option may stand once: what a gate says itself takes the place of the default.
	err := w.site.load(onceEach(body))
	if err != nil {
		t.Fatal(err)
	}
	client := func(protocols ...string) *http.Client {
		transport := &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, NextProtos: protocols},
			ForceAttemptHTTP2: protocols[0] == "h2",
			DisableKeepAlives: protocols[0] != "h2",
		}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	w.http1, w.http2 = client("http/1.1"), client("h2")
}

// onceEach drops the earlier one of options that a gate has twice.
func onceEach(body string) string {
	lines := strings.Split(body, "\n")
	for i, line := range lines {
		name, _, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(line, "\t") {
			continue
		}
		for _, later := range lines[i+1:] {
			if !strings.HasPrefix(later, "\t") {
				break
			}
			if strings.HasPrefix(later, name+" ") && name != "\t" {
				lines[i] = ""
			}
		}
	}
	return strings.Join(lines, "\n")
}

func (w *outcomeWorld) has(customer string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.approved[customer]
}

// release lets a late customer approve.
func (w *outcomeWorld) release(customer string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.approved[customer] = true
}

// sent is how often requests of a case have reached the upstream.
func (w *outcomeWorld) sent(number string) int {
	n := 0
	for _, r := range w.bank.received() {
		if strings.HasSuffix(r.target, "?n="+number) {
			n++
		}
	}
	return n
}

// asked is how often a customer was asked.
func (w *outcomeWorld) asked(customer string) int {
	n := 0
	for _, r := range w.op.started() {
		if r.form.Get("login_hint") == customer {
			n++
		}
	}
	return n
}

// do sends one request; a context ends it.
func (w *outcomeWorld) do(ctx context.Context, client *http.Client, r outcomeRequest) answer {
	req, err := http.NewRequestWithContext(ctx, cmp.Or(r.method, http.MethodPost), "https://"+w.host+r.target, bytes.NewReader([]byte(r.body)))
	if err != nil {
		return answer{err: err}
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if (client == w.http2) != (resp.ProtoMajor == 2) {
		return answer{err: fmt.Errorf("the answer came by %s", resp.Proto)}
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: string(text), err: err}
}

// An outcomeRequest is a request of the table.
type outcomeRequest struct {
	method string // default: POST
	target string
	header http.Header
	body   string
}

// with is the request with further headers, in pairs.
func (r outcomeRequest) with(pairs ...string) outcomeRequest {
	r.header = r.header.Clone()
	if r.header == nil {
		r.header = make(http.Header)
	}
	for i := 0; i < len(pairs); i += 2 {
		r.header[pairs[i]] = append(r.header[pairs[i]], pairs[i+1])
	}
	return r
}

// statusOf decodes a status.
func statusOf(got answer) (stepup.Status, error) {
	var status stepup.Status
	if got.err != nil || got.status != http.StatusOK {
		return status, fmt.Errorf("status is %+v", got)
	}
	err := json.Unmarshal([]byte(got.body), &status)
	return status, err
}
