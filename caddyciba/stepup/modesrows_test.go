package stepup

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// rowServer serves a bench and its desk over HTTP/1.1 or HTTP/2, in front of an
// upstream on the network that counts.
func rowServer(t *testing.T, http2 bool) (*bench, *counting, func(method, target, body string, header http.Header) (*http.Response, string)) {
	t.Helper()
	upstream := &counting{}
	bank := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = upstream.next(w, r) }))
	t.Cleanup(bank.Close)
	b := newBench(t, proxy(bank.URL, newTransport(t)))
	auto(b)
	desk := b.desk()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !Concerns(r) {
			b.ServeHTTP(w, r)
			return
		}
		err := desk.Serve(w, r)
		if err != nil {
			WriteProblem(w, r, asRefusal(err))
		}
	}))
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return b, upstream, func(method, target, body string, header http.Header) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Caller", "teller")
		for name, values := range header {
			r.Header[name] = values
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if http2 != (resp.ProtoMajor == 2) {
			t.Fatalf("answer came by %s", resp.Proto)
		}
		return resp, string(text)
	}
}

// The rows of the outcome table (design 3.4) that the modes add, over HTTP/1.1 and
// HTTP/2, with what the upstream has seen.
func TestModeRows(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2 ", http2), func(t *testing.T) {
			b, upstream, do := rowServer(t, http2)
			decisions := make(chan error)
			b.client.wait = waitFor(decisions)
			want := func(what string, resp *http.Response, status int, problem Problem, sent int) {
				t.Helper()
				kind := resp.Header.Get("Content-Type")
				if resp.StatusCode != status || problem != "" && kind != "application/problem+json" || upstream.count() != sent {
					t.Errorf("%s: %d %s, sent %d times; want %d, sent %d times", what, resp.StatusCode, kind, upstream.count(), status, sent)
				}
				if f := b.lastRefusal(); problem != "" && resp.Header.Get("Location") != "" && (f == nil || f.Problem != problem) {
					t.Errorf("%s: refusal is %v", what, f)
				}
			}
			ended := func(location string) {
				t.Helper()
				eventually(t, "the end", func() bool { return b.status(t, location).State.Final() })
			}

			resp, _ := do("POST", "/a", "1", respondAsync)
			want("opted in, pending", resp, 202, "", 0)
			location := resp.Header.Get("Location")
			resp, _ = do("POST", "/a", "1", nil)
			want("identical, without key", resp, 409, ProblemIdentical, 0)
			if resp.Header.Get("Location") != location {
				t.Errorf("identical: Location is %q, want %q", resp.Header.Get("Location"), location)
			}
			resp, _ = do("GET", location+"/result", "", nil)
			want("result, pending", resp, 404, ProblemResultNotReady, 0)
			decisions <- nil
			ended(location)
			resp, _ = do("GET", location+"/result", "", nil)
			want("approved and answered", resp, 201, "", 1)
			resp, _ = do("DELETE", location, "", nil)
			want("cancel, too late", resp, 409, ProblemTooLate, 1)

			resp, _ = do("POST", "/b", "1", respondAsync)
			location = resp.Header.Get("Location")
			decisions <- &ciba.Error{Op: "wait", Code: ciba.CodeAccessDenied}
			ended(location)
			resp, text := do("GET", location+"/result", "", nil)
			want("denied", resp, 403, ProblemDenied, 1)
			if !strings.Contains(text, `"forwarded":false`) || !strings.Contains(text, "approval-denied") {
				t.Errorf("denied: %s", text)
			}

			resp, _ = do("POST", "/c", "1", respondAsync)
			location = resp.Header.Get("Location")
			resp, _ = do("DELETE", location, "", nil)
			want("cancelled", resp, 200, "", 1)
			ended(location)

			key := http.Header{"Idempotency-Key": {"k"}}
			first := make(chan int, 1)
			go func() {
				resp, _ := do("POST", "/d", "1", key)
				first <- resp.StatusCode
			}()
			eventually(t, "the question", func() bool { return b.client.asked() == 4 })
			resp, _ = do("POST", "/d", "2", key)
			want("same key, other body", resp, 422, ProblemKeyReused, 1)
			second := make(chan *http.Response, 1)
			go func() {
				resp, _ := do("POST", "/d", "1", key)
				second <- resp
			}()
			decisions <- nil
			if got := <-first; got != 201 {
				t.Errorf("the first with a key: %d", got)
			}
			resp = <-second
			want("same key, joins", resp, 201, "", 2)
			resp, _ = do("POST", "/d", "1", key)
			want("same key, replayed", resp, 201, "", 2)
			if resp.Header.Get("Idempotency-Replayed") != "true" {
				t.Error("the replay does not say that it is one")
			}

			resp, _ = do("POST", "/e", "1", navigation)
			want("browser, pending", resp, 303, "", 2)
			location = resp.Header.Get("Location")
			resp, _ = do("GET", location, "", navigation)
			want("waiting page", resp, 200, "", 2)
			resp, _ = do("DELETE", location, "", nil)
			want("browser, cancelled", resp, 200, "", 2)
			ended(location)
			eventually(t, "the withdrawal", func() bool { return b.client.withdrawn() == 2 })
			if n := b.client.asked(); n != 5 {
				t.Errorf("asked %d times, want 5", n)
			}
		})
	}
}

// waitFor makes customers decide as the test says, one after the other.
func waitFor(decisions <-chan error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		select {
		case err := <-decisions:
			return err
		case <-ctx.Done():
			return untilDone(ctx)
		}
	}
}
