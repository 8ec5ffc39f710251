package idp

import (
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval/notice"
	"github.com/caddyciba/gateway/idp/provider"
)

// caFile is a file with the certificate of the receiver.
func (r *receiver) caFile(t *testing.T) string {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// messenger is a notifier with its life as a module.
type messenger interface {
	Notifier
	caddy.Provisioner
	caddy.CleanerUpper
}

// setUp sets a notifier up for a test.
func setUp(t *testing.T, m messenger) error {
	t.Helper()
	t.Setenv("IDP_TEST_TOKEN", "tk_of_the_server")
	t.Setenv("IDP_TEST_TOKEN_LINES", "one\r\nX-Other: two")
	t.Cleanup(func() {
		err := m.Cleanup()
		if err != nil {
			t.Error(err)
		}
	})
	return m.Provision(caddy.Context{})
}

// A message says that something waits and opens the page; the token is in a header,
// and nothing of the request is in it.
func TestMessengers(t *testing.T) {
	r := newReceiver(t)
	local, ca := []string{"127.0.0.0/8", "::1"}, []string{r.caFile(t)}
	const text = `"message":"Bei Bank wartet etwas.\nBis 12:04.","priority":`
	anna := &provider.User{ID: "anna", Claims: map[string]any{"topic": "anna-7f"}}
	tests := map[string]struct {
		notifier   messenger
		user       *provider.User
		path, body string
		header     [2]string
		err        error
	}{
		"ntfy": {
			&NtfyNotifier{URL: r.URL + "/approvals", Token: "{env.IDP_TEST_TOKEN}", Networks: local, CAFiles: ca}, nil,
			"/", `{"click":"https://id.example.com/requests/r1",` + text + `4,"title":"Etwas wartet","topic":"approvals"}`,
			[2]string{"Authorization", "Bearer tk_of_the_server"}, nil,
		},
		"ntfy with a topic for each customer": {
			&NtfyNotifier{URL: r.URL, Claim: "topic", Priority: 5, Networks: local, CAFiles: ca}, anna,
			"/", `{"click":"https://id.example.com/requests/r1",` + text + `5,"title":"Etwas wartet","topic":"anna-7f"}`,
			[2]string{"Authorization", ""}, nil,
		},
		"a customer without a topic": {
			&NtfyNotifier{URL: r.URL, Claim: "topic", Networks: local, CAFiles: ca}, &provider.User{ID: "bob"}, "", "", [2]string{}, notice.ErrNoAddress,
		},
		"a customer who is not known now": {
			&NtfyNotifier{URL: r.URL, Claim: "topic", Networks: local, CAFiles: ca}, nil, "", "", [2]string{}, errNoUser,
		},
		"gotify": {
			&GotifyNotifier{URL: r.URL + "/gotify/", Token: "{env.IDP_TEST_TOKEN}", Networks: local, CAFiles: ca}, nil, "/gotify/message",
			`{"extras":{"client::notification":{"click":{"url":"https://id.example.com/requests/r1"}}},` + text + `8,"title":"Etwas wartet"}`,
			[2]string{"X-Gotify-Key", "tk_of_the_server"}, nil,
		},
	}
	for name, test := range tests {
		err := setUp(t, test.notifier)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n := waiting()
		n.User = test.user
		err = test.notifier.Notify(t.Context(), n)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got %v, want %v", name, err, test.err)
		}
		if test.err != nil {
			if len(r.received) != 0 {
				t.Errorf("%s: something was sent", name)
			}
			continue
		}
		got := <-r.received
		if got.path != test.path || got.body != test.body || got.header.Get(test.header[0]) != test.header[1] {
			t.Errorf("%s: got %s\n%s\n%v\nwant %s\n%s", name, got.path, got.body, got.header, test.path, test.body)
		}
	}
}

// A topic from a claim cannot be more than a topic.
func TestNtfyTopics(t *testing.T) {
	r := newReceiver(t)
	ntfy := &NtfyNotifier{URL: r.URL, Claim: "topic", Networks: []string{"127.0.0.0/8"}, CAFiles: []string{r.caFile(t)}}
	err := setUp(t, ntfy)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"a/b", "a b", "../x", "ä", strings.Repeat("a", 65), "a?b"} {
		n := waiting()
		n.User = &provider.User{ID: "anna", Claims: map[string]any{"topic": topic}}
		err := ntfy.Notify(t.Context(), n)
		if !notice.IsPermanent(err) || len(r.received) != 0 {
			t.Errorf("%q: %v, and %d messages", topic, err, len(r.received))
		}
	}
}

// Messengers stay out of closed networks (threats.md no. 14), follow no redirect,
// and what no repetition cures is not repeated.
func TestMessengerFailures(t *testing.T) {
	r := newReceiver(t)
	local, ca := []string{"127.0.0.0/8"}, []string{r.caFile(t)}
	tests := map[string]struct {
		status    int
		networks  []string
		permanent bool
	}{
		"closed network": {http.StatusOK, nil, false},
		"redirect":       {http.StatusTemporaryRedirect, local, true},
		"refused":        {http.StatusForbidden, local, true},
		"overloaded":     {http.StatusServiceUnavailable, local, false},
	}
	for name, test := range tests {
		r.status.Store(int64(test.status))
		for _, m := range []messenger{
			&NtfyNotifier{URL: r.URL + "/approvals", Token: "{env.IDP_TEST_TOKEN}", Networks: test.networks, CAFiles: ca},
			&GotifyNotifier{URL: r.URL, Token: "{env.IDP_TEST_TOKEN}", Networks: test.networks, CAFiles: ca},
		} {
			err := setUp(t, m)
			if err != nil {
				t.Fatal(err)
			}
			err = m.Notify(t.Context(), waiting())
			if err == nil || notice.IsPermanent(err) != test.permanent || strings.Contains(err.Error(), "tk_of") || strings.Contains(err.Error(), r.URL) {
				t.Errorf("%s: %T: %v", name, m, err)
			}
			for len(r.received) > 0 {
				<-r.received
			}
		}
	}
}

func TestMessengerMistakes(t *testing.T) {
	const server, token = "https://push.example.com", "{env.IDP_TEST_TOKEN}"
	for want, m := range map[string]messenger{
		"ntfy has no URL":                    &NtfyNotifier{},
		"must end with a topic":              &NtfyNotifier{URL: server},
		"end with a topic of":                &NtfyNotifier{URL: server + "/a b"},
		"without a query":                    &NtfyNotifier{URL: server + "/a?auth=secret"},
		"ntfy URL must be https":             &NtfyNotifier{URL: "http://push.example.com/a"},
		"ntfy priority is 6":                 &NtfyNotifier{URL: server + "/a", Priority: 6},
		"ntfy token must be a placeholder":   &NtfyNotifier{URL: server + "/a", Token: "tk_written_out"},
		"no HTTP header can carry":           &NtfyNotifier{URL: server + "/a", Token: "{env.IDP_TEST_TOKEN_LINES}"},
		"{env.NONE} stands for":              &NtfyNotifier{URL: server + "/a", Token: "{env.NONE}"},
		"ntfy networks: 'here'":              &NtfyNotifier{URL: server + "/a", Networks: []string{"here"}},
		"gotify has no URL":                  &GotifyNotifier{Token: token},
		"gotify has no token":                &GotifyNotifier{URL: server},
		"gotify token must be a placeholder": &GotifyNotifier{URL: server, Token: "tk_written_out"},
		"gotify URL must have no query":      &GotifyNotifier{URL: server + "?token=secret", Token: token},
		"gotify priority is 11":              &GotifyNotifier{URL: server, Token: token, Priority: 11},
		"gotify URL must be https":           &GotifyNotifier{URL: "ftp://push.example.com", Token: token},
		"reading gotify ca: open /none":      &GotifyNotifier{URL: server, Token: token, CAFiles: []string{"/none"}},
	} {
		err := setUp(t, m)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "written_out") || strings.Contains(err.Error(), "secret and") || strings.Contains(err.Error(), "=secret")) {
			t.Errorf("the error repeats a secret: %v", err)
		}
	}
}
