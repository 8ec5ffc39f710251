package stepup

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// A kept answer has the trailers of the upstream's, announced or not, for whoever
// comes back for it: at its status, and by its Idempotency-Key.
func TestKeptTrailers(t *testing.T) {
	bank := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "booked")
		w.Header().Set("X-Sum", "6")
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
	}))
	defer bank.Close()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2 ", http2), func(t *testing.T) {
			b, _, do := rowServer(t, http2)
			b.next = proxy(bank.URL, newTransport(t))
			want := func(what string, resp *http.Response, text string) {
				t.Helper()
				if resp.StatusCode != 200 || text != "booked" || resp.Trailer.Get("X-Sum") != "6" || resp.Trailer.Get("X-Late") != "1" || resp.Header.Get("X-Sum") != "" {
					t.Errorf("%s: %d %q, header %v, trailer %v", what, resp.StatusCode, text, resp.Header, resp.Trailer)
				}
			}
			decide := b.undecided()
			resp, _ := do("POST", "/a", "1", respondAsync)
			location := resp.Header.Get("Location")
			close(decide)
			eventually(t, "the end", func() bool { return b.status(t, location).State.Final() })
			resp, text := do("GET", location+"/result", "", nil)
			want("result", resp, text)
			for _, what := range []string{"first", "again"} {
				resp, text = do("POST", "/b", "1", http.Header{"Idempotency-Key": {"k"}})
				want(what, resp, text)
			}
			resp, _ = do("HEAD", location+"/result", "", nil)
			if resp.StatusCode != 200 {
				t.Errorf("HEAD: %d", resp.StatusCode)
			}
		})
	}
}

// A kept answer without trailers keeps its length.
func TestKeptLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, answering(201, "booked"))
		auto(b)
		decide := b.undecided() // decided at once, the answer can be there before the 202
		location := b.start(t, "1")
		decide <- nil
		synctest.Wait()
		w := b.look("GET", location+"/result", "", teller)
		if w.Code != 201 || w.Header().Get("Content-Length") != "6" || w.Header().Get("Trailer") != "" {
			t.Errorf("result is %d %v", w.Code, w.Header())
		}
		time.Sleep(defaultKeep + time.Second)
		if w := b.look("GET", location+"/result", "", teller); w.Code != 410 && w.Code != 404 {
			t.Errorf("after its retention: %d", w.Code)
		}
	})
}
