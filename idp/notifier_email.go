package idp

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval/mail"
	"github.com/caddyciba/gateway/idp/approval/notice"
)

func init() {
	caddy.RegisterModule(new(EmailNotifier))
}

// EmailNotifier sends an e-mail for each request that waits for a customer: that
// something waits, until when, and the address of the page on which the customer
// decides after signing in. What the request is about is not in it.
//
// The message is text and HTML that loads nothing. It is in the language of the
// customer's claim locale, if the approval app has it, else in English.
type EmailNotifier struct {
	// Host and port of the mail server, such as "smtp.example.com:587".
	// Placeholders are resolved when the config is loaded. Required.
	Server string `json:"server,omitempty"`

	// Who the message is from: an address, with a name if you like, such as
	// "Example Bank <no-reply@example.com>". Required.
	From string `json:"from,omitempty"`

	// How the connection is protected: "starttls" asks the server for TLS and
	// sends nothing without it, "implicit" speaks TLS from the start, "off" is
	// for a server on this host. Default: implicit on port 465, starttls on all
	// others.
	TLS string `json:"tls,omitempty"`

	// Who signs in to the mail server. Placeholders are resolved. Default: nobody.
	Username string `json:"username,omitempty"`

	// A placeholder, `{env.…}` or `{file.…}`, for the password. Required with
	// username.
	Password string `json:"password,omitempty"`

	// The claim of a customer that is the address. A customer without it, or
	// whose claim email_verified is false where the claim is email, is not
	// notified this way. Default: email.
	Claim string `json:"claim,omitempty"`

	// A file with the template of the text (Go text/template). It may define a
	// template "subject". Templates get .Brand, .Name, .Client, .URL, .Language,
	// .Title, .Text, .Until, .Open and .Care. Default: a built-in one.
	TextTemplate string `json:"text_template,omitempty"`

	// A file with the template of the HTML (Go html/template), which must load
	// nothing. Default: a built-in one.
	HTMLTemplate string `json:"html_template,omitempty"`

	// The certificate authorities that the server is verified with: files in
	// PEM, read when the config is loaded. Placeholders are resolved. Default:
	// those of the system.
	CAFiles []string `json:"ca_files,omitempty"`

	sender *mail.Sender
}

// defaultMailClaim is the claim of OpenID Connect Core 1.0 section 5.1.
const defaultMailClaim = "email"

// CaddyModule returns the Caddy module information.
func (*EmailNotifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  notifierNamespace + ".email",
		New: func() caddy.Module { return new(EmailNotifier) },
	}
}

// Provision resolves the secrets and reads the templates. It connects to nothing.
func (e *EmailNotifier) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	err := e.check()
	if err != nil {
		return err
	}
	if e.Claim == "" {
		e.Claim = defaultMailClaim
	}
	config := mail.Config{From: e.From, TLS: mail.TLS(e.TLS)}
	config.Server, err = resolve(repl, "email server", e.Server)
	if err != nil {
		return err
	}
	config.Username, err = resolve(repl, "email username", e.Username)
	if err != nil {
		return err
	}
	if e.Password != "" {
		config.Password, _, err = resolveSecret(repl, "email password", e.Password)
		if err != nil {
			return err
		}
	}
	certificates, err := readCertificates(repl, "email ca", e.CAFiles)
	if err != nil {
		return err
	}
	config.Roots, err = certPool(certificates)
	if err != nil {
		return err
	}
	config.Templates, err = e.templates(repl)
	if err != nil {
		return err
	}
	e.sender, err = mail.New(config)
	if err != nil {
		return fmt.Errorf("email: %w", err)
	}
	return nil
}

// templates reads the templates that are configured.
func (e *EmailNotifier) templates(repl *caddy.Replacer) (*mail.Templates, error) {
	text, err := resolve(repl, "email text_template", e.TextTemplate)
	if err != nil {
		return nil, err
	}
	html, err := resolve(repl, "email html_template", e.HTMLTemplate)
	if err != nil {
		return nil, err
	}
	templates, err := mail.LoadTemplates(text, html)
	if err != nil {
		return nil, fmt.Errorf("email: %w", err)
	}
	return templates, nil
}

// check finds mistakes that can be found without resolving placeholders.
func (e *EmailNotifier) check() error {
	switch {
	case e.Server == "":
		return errors.New("email has no server")
	case e.From == "":
		return errors.New("email has no from")
	case (e.Username == "") != (e.Password == ""):
		return errors.New("email requires username and password together, or none of them")
	}
	err := checkToken("email password", e.Password)
	if err != nil {
		return err
	}
	server := e.Server
	if isReference(server) {
		// What it stands for is checked when it is there.
		server = net.JoinHostPort("localhost", "25")
	}
	err = mail.Config{Server: server, From: e.From, TLS: mail.TLS(e.TLS)}.Check()
	if err != nil {
		return fmt.Errorf("email: %w", err)
	}
	return nil
}

// Notify implements [Notifier].
func (e *EmailNotifier) Notify(ctx context.Context, n *Notification) error {
	if n.User == nil {
		return errNoUser
	}
	to, _ := n.User.Claims[e.Claim].(string)
	if to == "" || e.Claim == defaultMailClaim && n.User.Claims["email_verified"] == false {
		return notice.ErrNoAddress
	}
	name := n.User.Name
	if name == "" {
		name = n.User.Username
	}
	client := n.Request.Client.Name
	if client == "" {
		client = n.Request.Client.ID
	}
	return e.sender.Send(ctx, mail.Message{
		ID: n.Request.ID, To: to, Expires: n.Request.ExpiresAt,
		View: mail.View{
			Language: n.Words.Language, Brand: n.Words.Brand, Name: name, Client: client, URL: n.URL,
			Title: n.Words.Title, Text: n.Words.Text, Until: n.Words.Until, Open: n.Words.Open, Care: n.Words.Care,
		},
	})
}

// Interface guards
var (
	_ caddy.Provisioner = (*EmailNotifier)(nil)
	_ Notifier          = (*EmailNotifier)(nil)
)
