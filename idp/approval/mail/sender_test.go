package mail

import (
	"context"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/approval/mail/mailtest"
	"github.com/caddyciba/gateway/idp/approval/notice"
)

const password = "a password of the mailbox"

// message is one for anna.
func message() Message {
	return Message{
		ID: "r1", To: "anna@example.com", Expires: time.Unix(1767225890, 0),
		View: View{
			Language: "de", Brand: "Bänk <b>", Name: "Anna", Client: "Example Bank", URL: "https://id.example.com/requests/r1",
			Title: "Etwas wartet auf Ihre Freigabe – jetzt", Text: "Bei Bänk <b> wartet etwas.", Until: "Bis 12:04.", Open: "Öffnen", Care: "Vorsicht & Umsicht.",
		},
	}
}

// newSender is a sender for the server.
func newSender(t *testing.T, s *mailtest.Server, change func(*Config)) *Sender {
	t.Helper()
	cfg := Config{
		Server: s.Addr, Roots: s.Roots(), From: "Example Bank <no-reply@example.com>",
		Now: func() time.Time { return time.Unix(1767225600, 0) },
	}
	if change != nil {
		change(&cfg)
	}
	sender, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

// parts are the text and the HTML of a message.
func parts(t *testing.T, parsed *netmail.Message) map[string]string {
	t.Helper()
	kind, params, err := mime.ParseMediaType(parsed.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("content type is %s, %v", kind, err)
	}
	found := make(map[string]string)
	reader := multipart.NewReader(parsed.Body, params["boundary"])
	for {
		part, err := reader.NextRawPart()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if part.Header.Get("Content-Transfer-Encoding") != "quoted-printable" {
			t.Fatalf("a part has the encoding %s", part.Header.Get("Content-Transfer-Encoding"))
		}
		body, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		found[kind] = strings.ReplaceAll(string(body), "\r\n", "\n")
	}
}

// A message gets to the server over TLS that was asked for, after signing in, and
// says that something waits.
func TestSend(t *testing.T) {
	server := mailtest.New(t, mailtest.Config{Password: password})
	sender := newSender(t, server, func(c *Config) { c.Username, c.Password = "mailer", password })
	err := sender.Send(t.Context(), message())
	if err != nil {
		t.Fatal(err)
	}
	got := <-server.Received
	if !got.Secure || got.User != "mailer" || got.From != "no-reply@example.com" || got.To != "anna@example.com" {
		t.Errorf("got %+v", got)
	}
	parsed, err := netmail.ReadMessage(strings.NewReader(got.Data))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
	if err != nil || subject != "Etwas wartet auf Ihre Freigabe – jetzt" {
		t.Errorf("subject is %q, %v", subject, err)
	}
	for name, want := range map[string]string{
		"From": `"Example Bank" <no-reply@example.com>`, "To": "<anna@example.com>", "Message-ID": "<r1@id.example.com>",
		"Content-Language": "de", "Auto-Submitted": "auto-generated", "Expires": "Thu, 01 Jan 2026 00:04:50 +0000",
	} {
		if parsed.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, parsed.Header.Get(name), want)
		}
	}
	bodies := parts(t, parsed)
	const text = "Bei Bänk <b> wartet etwas.\nBis 12:04.\n\nÖffnen:\nhttps://id.example.com/requests/r1\n\nVorsicht & Umsicht.\n"
	if bodies["text/plain"] != text {
		t.Errorf("text is\n%s\nwant\n%s", bodies["text/plain"], text)
	}
	html := bodies["text/html"]
	for _, want := range []string{`lang="de"`, "Bei Bänk &lt;b&gt; wartet", `href="https://id.example.com/requests/r1"`, "Vorsicht &amp; Umsicht"} {
		if !strings.Contains(html, want) {
			t.Errorf("HTML lacks %s:\n%s", want, html)
		}
	}
	err = checkRemote(html)
	if err != nil {
		t.Error(err)
	}
}

// How the connection is protected follows from the port or the option, and nothing
// is sent without protection that was asked for.
func TestTLS(t *testing.T) {
	implicit := mailtest.New(t, mailtest.Config{Implicit: true, Password: password})
	err := newSender(t, implicit, func(c *Config) { c.TLS, c.Username, c.Password = Implicit, "mailer", password }).Send(t.Context(), message())
	if err != nil || !(<-implicit.Received).Secure {
		t.Errorf("implicit TLS: %v", err)
	}
	plain := mailtest.New(t, mailtest.Config{Plain: true, Password: password})
	err = newSender(t, plain, func(c *Config) { c.Username, c.Password = "mailer", password }).Send(t.Context(), message())
	if err == nil || len(plain.Received) != 0 {
		t.Errorf("a server without STARTTLS: %v, and %d messages", err, len(plain.Received))
	}
	err = newSender(t, plain, func(c *Config) { c.TLS = Off }).Send(t.Context(), message())
	if err != nil || (<-plain.Received).Secure {
		t.Errorf("without TLS: %v", err)
	}
	other := mailtest.New(t, mailtest.Config{})
	err = newSender(t, other, func(c *Config) { c.Roots = implicit.Roots() }).Send(t.Context(), message())
	if err == nil || notice.IsPermanent(err) || !strings.Contains(err.Error(), "certificate") || len(other.Received) != 0 {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}

// What the server refuses for good is not tried again; no error names the password
// or the address of the customer.
func TestFailures(t *testing.T) {
	tests := map[string]struct {
		config    mailtest.Config
		permanent bool
		want      string
	}{
		"wrong password":    {mailtest.Config{Password: "another"}, true, "535"},
		"no authentication": {mailtest.Config{}, false, "AUTH"},
		"unknown mailbox":   {mailtest.Config{Password: password, Refuse: map[string]string{"RCPT": "550 5.1.1 no anna@example.com here"}}, true, "550"},
		"full mailbox":      {mailtest.Config{Password: password, Refuse: map[string]string{"RCPT": "452 4.2.2 anna@example.com is full"}}, false, "452"},
		"sender refused":    {mailtest.Config{Password: password, Refuse: map[string]string{"MAIL": "554 no"}}, true, "554"},
		"message refused":   {mailtest.Config{Password: password, Refuse: map[string]string{"DATA": "451 later"}}, false, "451"},
	}
	for name, test := range tests {
		server := mailtest.New(t, test.config)
		err := newSender(t, server, func(c *Config) { c.Username, c.Password = "mailer", password }).Send(t.Context(), message())
		if err == nil || notice.IsPermanent(err) != test.permanent || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
		if err != nil && (strings.Contains(err.Error(), "anna@") || strings.Contains(err.Error(), password)) {
			t.Errorf("%s: the error tells too much: %v", name, err)
		}
	}
}

// A server that accepts connections and is silent costs no more than the time of
// one attempt.
func TestSilentServer(t *testing.T) {
	server := mailtest.New(t, mailtest.Config{Silent: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := newSender(t, server, nil).Send(ctx, message())
	if err == nil || notice.IsPermanent(err) {
		t.Errorf("got %v", err)
	}
}

// An address with which a header or another recipient could be added is none.
func TestAddresses(t *testing.T) {
	server := mailtest.New(t, mailtest.Config{})
	sender := newSender(t, server, nil)
	for _, to := range []string{
		"", "anna", "anna@example.com, ben@example.com", "Anna <anna@example.com>", "anna@example.com\r\nBcc: ben@example.com",
		"<anna@example.com>", "anna@example.com\x00", "anna@example.com> SIZE=1 <ben@example.com",
	} {
		m := message()
		m.To = to
		err := sender.Send(t.Context(), m)
		if !notice.IsPermanent(err) {
			t.Errorf("%q: %v", to, err)
		}
	}
	if len(server.Received) != 0 {
		t.Errorf("%d messages were sent", len(server.Received))
	}
}

func TestConfigMistakes(t *testing.T) {
	for want, c := range map[string]Config{
		"must be a host and a port": {Server: "smtp.example.com", From: "a@example.com"},
		"and a port, such":          {Server: "smtp.example.com:0", From: "a@example.com"},
		"from must be one":          {Server: "smtp.example.com:587", From: "a@example.com, b@example.com"},
		"from must be":              {Server: "smtp.example.com:587", From: "a@example.com\r\nBcc: b@example.com"},
		"tls 'ssl' must be":         {Server: "smtp.example.com:587", From: "a@example.com", TLS: "ssl"},
		"loopback hosts only":       {Server: "smtp.example.com:587", From: "a@example.com", TLS: Off},
	} {
		_, err := New(c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTemplates(t *testing.T) {
	write := func(content string) string {
		name := filepath.Join(t.TempDir(), "template")
		err := os.WriteFile(name, []byte(content), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	own, err := LoadTemplates(write("{{define \"subject\"}}{{.Brand}}:\n {{.Title}}{{end}}Hello {{.Name}}, {{.Client}} asks.\n"), write("<p>{{.Text}}</p>"))
	if err != nil {
		t.Fatal(err)
	}
	subject, text, html, err := own.render(message().View)
	if err != nil || subject != "Bänk <b>: Etwas wartet auf Ihre Freigabe – jetzt" || text != "Hello Anna, Example Bank asks.\n" || html != "<p>Bei Bänk &lt;b&gt; wartet etwas.</p>" {
		t.Errorf("got %q, %q, %q, %v", subject, text, html, err)
	}
	for markup, want := range map[string]string{
		"{{.Nothing}}":                         "can't evaluate field",
		"{{":                                   "parsing HTML template",
		`<img src="https://example.com/1">`:    "<img>",
		`<p style="background:url(//x)">x</p>`: "<p style>",
		"<style>@import '//x';</style>":        "@import",
		`<form action="/approve"></form>`:      "<form>",
		`<td background="//x">`:                "<td background>",
	} {
		_, err := LoadTemplates("", write(markup))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", markup, err, want)
		}
	}
	for text, want := range map[string]string{"{{.Secret}}": "can't evaluate field", "  ": "makes nothing"} {
		_, err := LoadTemplates(write(text), "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	_, err = LoadTemplates("/none", "")
	if err == nil {
		t.Error("a file that is not there was read")
	}
}
