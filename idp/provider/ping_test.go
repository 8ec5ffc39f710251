package provider_test

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// called is one call of a notification endpoint.
type called struct {
	path, authorization, contentType, body string
}

// pingWorld has a ping client "gateway" whose endpoint is served by handler.
func pingWorld(t *testing.T, handler http.HandlerFunc) (*world, <-chan called) {
	t.Helper()
	return callbackWorld(t, provider.DeliveryPing, handler)
}

// callbackWorld is the same for ping and push.
func callbackWorld(t *testing.T, mode string, handler http.HandlerFunc) (*world, <-chan called) {
	t.Helper()
	calls := make(chan called, 100)
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		calls <- called{r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body)}
		handler(rw, r)
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return newWorld(t, func(c *provider.Config) {
		c.Clients[0].DeliveryMode = mode
		c.Clients[0].NotificationEndpoint = server.URL + "/ciba/notify"
		c.NotificationNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.NotificationRoots = roots
		c.EncryptionKeys = [][]byte{[]byte(strings.Repeat("k", 32))}
	}), calls
}

const notificationToken = "8d67dc78-7faa-4d41-aabd-67707b374255~+/="

func answerWith(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}
}

func nextCall(t *testing.T, calls <-chan called) called {
	t.Helper()
	select {
	case call := <-calls:
		return call
	case <-time.After(30 * time.Second):
		t.Fatal("no ping came")
		return called{}
	}
}

func noCall(t *testing.T, calls <-chan called) {
	t.Helper()
	select {
	case call := <-calls:
		t.Errorf("unexpected ping: %+v", call)
	case <-time.After(1500 * time.Millisecond): // longer than the outbox rests
	}
}

// CIBA checklist P1, P2, P5; threats T13
func TestPing(t *testing.T) {
	for name, decide := range map[string]func(*world, string) error{
		"approved": func(w *world, id string) error { return w.approve(id) },
		"denied":   func(w *world, id string) error { return w.Deny(context.Background(), "sub-alice", id) },
	} {
		t.Run(name, func(t *testing.T) {
			w, calls := pingWorld(t, answerWith(http.StatusNoContent))
			authReqID, id := w.start("client_notification_token", notificationToken)
			record, err := w.store.Get(t.Context(), "idp.request", id)
			if err != nil || strings.Contains(string(record.Data), authReqID) || strings.Contains(string(record.Data), notificationToken) {
				t.Errorf("record %s, %v", record.Data, err)
			}
			w.poll("gateway", authReqID).want(t, 400, "authorization_pending") // it may poll as well
			err = decide(w, id)
			if err != nil {
				t.Fatal(err)
			}
			call := nextCall(t, calls)
			want := called{"/ciba/notify", "Bearer " + notificationToken, "application/json", `{"auth_req_id":"` + authReqID + `"}`}
			if call != want {
				t.Errorf("ping %+v, want %+v", call, want)
			}
			a := w.poll("gateway", authReqID)
			if name == "approved" {
				a.want(t, 200, "")
			} else {
				a.want(t, 400, "access_denied")
			}
			noCall(t, calls)
		})
	}
}

// A client that redeems before it answers the ping is no conflict.
func TestPingIsRedeemedInside(t *testing.T) {
	var w *world
	redeemed := make(chan *answer, 1)
	ids := make(chan string, 1)
	w, calls := pingWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		redeemed <- w.poll("gateway", <-ids)
		rw.WriteHeader(http.StatusNoContent)
	})
	authReqID, id := w.start("client_notification_token", notificationToken)
	ids <- authReqID
	w.mustApprove(id)
	nextCall(t, calls)
	(<-redeemed).want(t, 200, "")
}

// readLines returns the lines of a file of bad inputs, without comments.
func readLines(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "badinput", file))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// badClient answers calls as a line of callback.txt says.
func badClient(t *testing.T, how string) http.HandlerFunc {
	status, err := strconv.Atoi(how)
	if err == nil {
		return answerWith(status)
	}
	return func(rw http.ResponseWriter, r *http.Request) {
		switch how {
		case "slow":
			<-r.Context().Done()
		case "large":
			_, _ = rw.Write(make([]byte, 10<<20)) // nobody reads it to its end
		case "endless":
			rw.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
		case "broken":
			panic(http.ErrAbortHandler)
		default:
			t.Errorf("unknown answer %q", how)
		}
	}
}

// CIBA checklist P2, P3, P4, P6; threats N09
func TestPingAnswers(t *testing.T) {
	for _, line := range readLines(t, "callback.txt") {
		how, then, _ := strings.Cut(line, " ")
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			answer := badClient(t, how)
			took := make(chan time.Duration, 10)
			w, calls := pingWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				begin := time.Now()
				defer func() { took <- time.Since(begin) }()
				answer(rw, r)
			})
			authReqID, id := w.start("client_notification_token", notificationToken)
			w.mustApprove(id)
			call := nextCall(t, calls)
			if call.path != "/ciba/notify" {
				t.Errorf("path %s", call.path)
			}
			d := <-took
			if d > callbackTimeout {
				t.Errorf("the call took %s", d)
			}
			w.clock.advance(20 * time.Second)
			if then == "again" {
				nextCall(t, calls)
			} else {
				noCall(t, calls)
			}
			w.poll("gateway", authReqID).want(t, 200, "")
		})
	}
}

// callbackTimeout is what a call may take, with a margin for a busy machine.
const callbackTimeout = 15 * time.Second

// Faults of the server are tried again, by a successor too, but not without end.
func TestPingIsRetried(t *testing.T) {
	w, calls := pingWorld(t, answerWith(http.StatusInternalServerError))
	authReqID, id := w.start("client_notification_token", notificationToken)
	w.mustApprove(id)
	nextCall(t, calls)
	w.clock.advance(10 * time.Second)
	nextCall(t, calls)
	w.restart()
	err := w.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.clock.advance(10 * time.Second)
	nextCall(t, calls)
	w.clock.advance(5 * time.Minute) // the request is over
	noCall(t, calls)
	w.poll("gateway", authReqID).want(t, 400, "expired_token")
}

// CIBA checklist A9. What is refused is in testdata/badinput.
func TestNotificationToken(t *testing.T) {
	w, _ := pingWorld(t, answerWith(http.StatusNoContent))
	try := func(client, token string) *answer {
		return w.post(client, "/backchannel-authentication", "scope", "openid", "login_hint", "bob", "client_notification_token", token)
	}
	try("gateway", strings.Repeat("a", 1024)).want(t, 200, "")
	try("other", "x y").want(t, 200, "") // a poll client's is ignored
	for want, change := range map[string]func(*provider.Client){
		"is required for ping": func(c *provider.Client) { c.NotificationEndpoint = "" },
		"plain https URL":      func(c *provider.Client) { c.NotificationEndpoint = "http://rp.example.com" },
		"closed network":       func(c *provider.Client) { c.NotificationEndpoint = "https://10.0.0.1/" },
	} {
		cfg := w.cfg
		cfg.Clients = append([]provider.Client(nil), w.cfg.Clients...)
		change(&cfg.Clients[0])
		_, err := provider.New(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
