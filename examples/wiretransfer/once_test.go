package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestReloadWhileHeld reloads the config through the admin API while ten
// requests wait. Caddy then cleans up the old handlers under the requests that
// they still hold: measured on v2.11.9, Cleanup runs about ten milliseconds
// after the reload. All ten must get their answer, and be sent once each.
func TestReloadWhileHeld(t *testing.T) {
	const requests = 10
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), scenarioTime)
	defer cancel()
	client := protocols()["h1"]
	name := func(i int) string { return fmt.Sprintf("reload%d", i) }
	var all []*held
	var asked []func() error
	for i := range requests {
		// One customer each: the provider bounds how much one person is asked.
		who := fmt.Sprintf("c%d", i)
		r := as(who, ask("/held/do/book?n="+name(i)))
		r.body = fmt.Sprintf(`{"number": %d}`, i)
		all = append(all, w.send(ctx, client, r))
		c := w.signedIn(t, who)
		p, err := c.find(ctx, "Do "+name(i))
		if err != nil {
			t.Fatal(err)
		}
		asked = append(asked, func() error {
			_, err := c.decide(ctx, p, decisionApprove)
			return err
		})
	}

	// The second config differs, so that Caddy does not take it for the first,
	// and is loaded twice over.
	for i := range 2 {
		w.reload(t, w.config+fmt.Sprintf("\n# reload %d\n", i))
	}
	a, err := w.do(ctx, client, request{method: "GET", target: "/do/book?n=after"})
	if err != nil || a.status != http.StatusCreated {
		t.Fatalf("the new config does not serve: %v, %v", a, err)
	}
	for i, h := range all {
		if h.answered() {
			t.Fatalf("request %d did not survive the reload: %v, %v", i, h.answer, h.err)
		}
	}

	for i, approve := range asked {
		err := approve()
		if err != nil {
			t.Fatalf("approving request %d: %v", i, err)
		}
	}
	for i, h := range all {
		a, err := h.wait(ctx)
		if err != nil {
			t.Errorf("request %d: %v", i, err)
			continue
		}
		if a.status != http.StatusCreated {
			t.Errorf("request %d: status %d: %s", i, a.status, a.body)
		}
		arrived := w.upstream.arrivals("?n=" + name(i))
		if len(arrived) != 1 {
			t.Errorf("request %d was sent %d times", i, len(arrived))
			continue
		}
		if want := fmt.Sprintf(`{"number": %d}`, i); arrived[0].body != want {
			t.Errorf("request %d was sent as %s", i, arrived[0].body)
		}
	}
}

// reload posts a Caddyfile to the admin API, as `caddy reload` does.
func (w *world) reload(t *testing.T, config string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.admin+"/load", strings.NewReader(config))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("reloading: %s: %s", resp.Status, body)
	}
}

// TestOnceOnReusedConnection lets the connection to the upstream die while it
// is being used for the second time. Go's transport then believes that the
// upstream never saw the request, and sends it again by itself: a request
// without a body whose method is idempotent, or that carries an
// Idempotency-Key. Stock reverse_proxy sent an approved one twice.
func TestOnceOnReusedConnection(t *testing.T) {
	w := newWorld(t)
	client := protocols()["h1"]
	for _, name := range []string{"POST", "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), scenarioTime)
			defer cancel()
			// Idle connections to the upstream are used again, the newest first.
			first := w.approved(ctx, t, client, method(name, ask("/held/do/book")), "warm"+name)
			if first.status != http.StatusCreated {
				t.Fatalf("warming up: status %d: %s", first.status, first.body)
			}
			r := method(name, ask("/held/do/close"))
			r.header.Set("Idempotency-Key", "key-"+name)
			second := w.approved(ctx, t, client, r, "once"+name)
			if second.status != http.StatusBadGateway {
				t.Errorf("status %d, want 502: %s", second.status, second.body)
			}
			before, arrived := w.upstream.arrivals("?n=warm"+name), w.upstream.arrivals("?n=once"+name)
			if len(arrived) != 1 {
				t.Fatalf("the upstream was reached %d times", len(arrived))
			}
			if before[0].connection != arrived[0].connection {
				t.Error("the connection was not used again, so this test shows nothing")
			}
		})
	}
}

// approved sends a request, lets the customer approve it and returns the answer.
func (w *world) approved(ctx context.Context, t *testing.T, client *http.Client, r request, n string) *answer {
	t.Helper()
	r.target += "?n=" + n
	h := w.send(ctx, client, r)
	w.decide(t, "Do "+n, decisionApprove)
	a, err := h.wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestCallerLeaves hangs up at two moments. Before the decision nothing may be
// sent later; while the upstream works on it, the upstream must not be
// interrupted: with the caller's own context, reverse_proxy breaks off a
// transfer half way.
func TestCallerLeaves(t *testing.T) {
	w := newWorld(t)
	for protocol, client := range protocols() {
		t.Run(protocol+"/while pending", func(t *testing.T) {
			t.Parallel()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			n := protocol + "left"
			h := w.send(ctx, client, ask("/held/do/book?n="+n))
			p, err := w.customer.find(t.Context(), "Do "+n)
			if err != nil {
				t.Fatal(err)
			}
			leave()
			<-h.done
			// The provider may have withdrawn the request by now; what counts
			// is that an approval leads to nothing.
			_, err = w.customer.decide(t.Context(), p, decisionApprove)
			t.Logf("approving afterwards: %v", err)
			time.Sleep(2500 * time.Millisecond) // two polls later it would have been sent
			arrived := w.upstream.arrivals("?n=" + n)
			if len(arrived) != 0 {
				t.Errorf("the upstream was reached %d times", len(arrived))
			}
		})
		t.Run(protocol+"/while the upstream works", func(t *testing.T) {
			t.Parallel()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			n := protocol + "busy"
			target := "/held/do/slow?n=" + n
			h := w.send(ctx, client, ask(target))
			w.decide(t, "Do "+n, decisionApprove)
			eventually(t, "the upstream is reached", func() bool { return len(w.upstream.arrivals("?n="+n)) > 0 })
			leave()
			<-h.done
			eventually(t, "the upstream finishes", func() bool { return w.upstream.completed(target) })
			arrived := w.upstream.arrivals("?n=" + n)
			if len(arrived) != 1 {
				t.Errorf("the upstream was reached %d times", len(arrived))
			}
		})
	}
}

// eventually waits until something is so, for ten seconds at most.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}

// answered reports whether the answer is there.
func (h *held) answered() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}
