package idp

import (
	"errors"
	"io"
	"mime/quotedprintable"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval/mail/mailtest"
	"github.com/caddyciba/gateway/idp/approval/notice"
	"github.com/caddyciba/gateway/idp/provider"
)

const mailPassword = "the password of the mailbox"

// withMail is a config that sends mail over the server.
func withMail(t *testing.T, server *mailtest.Server, claims ...string) string {
	t.Helper()
	t.Setenv("IDP_TEST_MAIL", mailPassword)
	config := withNotifiers(site, "notify email "+server.Addr+" {",
		`	from "Example Bank <no-reply@example.com>"`, "	username mailer", "	password {env.IDP_TEST_MAIL}", "	ca "+server.CAFile(t), "}")
	return strings.Replace(config, `name "Anna Berg"`, "name \"Anna Berg\"\n"+strings.Join(claims, "\n"), 1)
}

// A customer gets an e-mail in her language, with the address of the page on which
// she decides and nothing of what it is about.
func TestEmail(t *testing.T) {
	s := newServer(t)
	server := mailtest.New(t, mailtest.Config{Password: mailPassword})
	s.load(withMail(t, server, "claim email anna@example.com", "claim locale de-AT"))
	issuer := s.url("")
	s.start(issuer, "transfers")
	got := <-server.Received
	if got.To != "anna@example.com" || !got.Secure || got.User != "mailer" {
		t.Errorf("got %+v", got)
	}
	plain, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(got.Data)))
	if err != nil {
		t.Fatal(err)
	}
	pending, err := s.instance(issuer).provider.Pending(t.Context(), "anna")
	if err != nil || len(pending) != 1 {
		t.Fatalf("%d requests wait, %v", len(pending), err)
	}
	address := issuer + "/requests/" + pending[0].ID
	for _, want := range []string{"Content-Language: de", "Bei localhost wartet eine Anfrage", address, `href="` + address} {
		if !strings.Contains(string(plain), want) {
			t.Errorf("the message lacks %q:\n%s", want, plain)
		}
	}
	for _, secret := range []string{"Pay 10 EUR", "transfers", "Send money", gatewaySecret, mailPassword} {
		if strings.Contains(string(plain), secret) {
			t.Errorf("the message tells %q:\n%s", secret, plain)
		}
	}
	wait(t, "the count", func() bool { return counted(t, collectors.notifications, issuer, "email", "sent") == 1 })
}

// A mail server that accepts the connection and never says a word costs the client
// nothing: its answer is there before the notifier has come to an end
// (CIBA checklist R5).
func TestDeadMailServer(t *testing.T) {
	s := newServer(t)
	server := mailtest.New(t, mailtest.Config{Silent: true})
	s.load(withMail(t, server, "claim email anna@example.com"))
	issuer := s.url("")
	id := s.start(issuer)
	for _, outcome := range []string{"sent", "retried", "failed", "skipped"} {
		if counted(t, collectors.notifications, issuer, "email", outcome) != 0 {
			t.Errorf("the notifier has ended (%s) before the answer", outcome)
		}
	}
	s.approve(issuer)
	status, answer := s.poll(issuer, id)
	if status != 200 {
		t.Errorf("after the approval: %d %v", status, answer)
	}
}

// Customers without an address, or with one that is known not to be theirs, are
// left out; one who cannot be looked up now may be known later.
func TestEmailAddresses(t *testing.T) {
	server := mailtest.New(t, mailtest.Config{})
	e := &EmailNotifier{Server: server.Addr, From: "no-reply@example.com", CAFiles: []string{server.CAFile(t)}}
	err := e.Provision(caddy.Context{})
	if err != nil {
		t.Fatal(err)
	}
	n := waiting()
	err = e.Notify(t.Context(), n)
	if !errors.Is(err, errNoUser) {
		t.Errorf("without a user: %v", err)
	}
	for _, claims := range []map[string]any{nil, {"email": ""}, {"email": 7}, {"email": "anna@example.com", "email_verified": false}} {
		n.User = &provider.User{ID: "anna", Claims: claims}
		err = e.Notify(t.Context(), n)
		if !errors.Is(err, notice.ErrNoAddress) {
			t.Errorf("%v: %v", claims, err)
		}
	}
	n.User = &provider.User{ID: "anna", Username: "anna", Claims: map[string]any{"email": "anna@example.com", "email_verified": true}}
	err = e.Notify(t.Context(), n)
	if err != nil || len(server.Received) != 1 {
		t.Errorf("a verified address: %v, and %d messages", err, len(server.Received))
	}
}

func TestEmailMistakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.html")
	err := os.WriteFile(file, []byte(`<img src="https://example.com/open.png">`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	const server, from = "smtp.example.com:587", "no-reply@example.com"
	for want, e := range map[string]*EmailNotifier{
		"email has no server":                  {From: from},
		"email has no from":                    {Server: server},
		"must be a host and a port":            {Server: "smtp.example.com", From: from},
		"username and password together":       {Server: server, From: from, Username: "mailer"},
		"email password must be a placeholder": {Server: server, From: from, Username: "mailer", Password: "written out"},
		"tls 'ssl' must be":                    {Server: server, From: from, TLS: "ssl"},
		"from must be one":                     {Server: server, From: "nobody"},
		"{env.NONE} stands for":                {Server: server, From: from, Username: "mailer", Password: "{env.NONE}"},
		"<img>":                                {Server: server, From: from, HTMLTemplate: file},
		"reading template: open /none":         {Server: server, From: from, TextTemplate: "/none"},
	} {
		err := e.Provision(caddy.Context{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "written out") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}
