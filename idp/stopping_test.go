package idp

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Pages of the approval app keep a stream of events open. Neither a reload nor the
// end of the server waits for it.
func TestStoppingEndsStreams(t *testing.T) {
	for name, stop := range map[string]func(*server){
		"reload": func(s *server) { s.load(site + "http://127.0.0.1:<port> {\n\trespond ok\n}\n") },
		"end": func(s *server) {
			err := caddy.Stop()
			if err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.load(site)
			c := newCustomer(s, s.url(""))
			c.signIn()
			resp, err := c.client.Do(c.request(http.MethodGet, s.url("/events"), nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
				t.Fatalf("got %s, %s", resp.Status, resp.Header.Get("Content-Type"))
			}
			_, err = resp.Body.Read(make([]byte, 1)) // it has begun
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, resp.Body)
				ended <- err
			}()
			stop(s)
			select {
			case err = <-ended:
				if err != nil {
					t.Errorf("the stream was cut off: %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Error("the stream goes on")
			}
		})
	}
}
