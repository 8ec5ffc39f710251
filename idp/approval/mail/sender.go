package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/caddyciba/gateway/idp/approval/notice"
)

// TLS is how the connection to the mail server is protected.
type TLS string

// Ways to protect the connection.
const (
	// StartTLS asks the server for TLS, and sends nothing without it.
	StartTLS TLS = "starttls"

	// Implicit speaks TLS from the first byte on.
	Implicit TLS = "implicit"

	// Off speaks no TLS. It is for a server on this host.
	Off TLS = "off"
)

// implicitPort is the port at which mail servers expect TLS from the start
// (RFC 8314).
const implicitPort = 465

// Config is what a [Sender] is made of.
type Config struct {
	// Server is host and port of the mail server, such as
	// smtp.example.com:587. Required.
	Server string

	// TLS is how the connection is protected. Default: Implicit on port 465,
	// StartTLS on all others. Off is taken for loopback hosts only.
	TLS TLS

	// Roots are the authorities that vouch for the server. Default: those of the
	// system.
	Roots *x509.CertPool

	// Username and Password are what the server asks for. Default: none.
	Username, Password string

	// From is who the message is from, such as "Example Bank
	// <no-reply@example.com>". Required.
	From string

	// Templates make the messages. Default: those of this package.
	Templates *Templates

	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// mechanisms are the ways to sign in to the server, the best one first. Those that
// send the password do so over TLS, or to this host, alone.
var mechanisms = []gomail.SMTPAuthType{
	gomail.SMTPAuthSCRAMSHA256PLUS, gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1PLUS, gomail.SMTPAuthSCRAMSHA1,
	gomail.SMTPAuthPlain, gomail.SMTPAuthLogin,
}

// Sender sends messages. It is safe for concurrent use; each message has a
// connection of its own.
type Sender struct {
	cfg      Config
	from     *netmail.Address
	host     string
	tls      *tls.Config
	implicit bool
	options  []gomail.Option
}

// New returns a sender. It connects to nothing; every mistake that it finds is in
// the error.
func New(cfg Config) (*Sender, error) {
	err := cfg.Check()
	if err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Templates == nil {
		cfg.Templates, err = LoadTemplates("", "")
		if err != nil {
			return nil, err
		}
	}
	s := &Sender{cfg: cfg}
	var port int
	s.host, port, err = splitServer(cfg.Server)
	if err != nil {
		return nil, err
	}
	s.from, err = netmail.ParseAddress(cfg.From)
	if err != nil {
		return nil, errFrom
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.host, RootCAs: cfg.Roots}
	s.options = []gomail.Option{
		gomail.WithPort(port), gomail.WithTimeout(notice.Timeout), gomail.WithoutNoop(), gomail.WithTLSConfig(s.tls),
	}
	switch cfg.mode(port) {
	case Implicit:
		s.implicit = true
		s.options = append(s.options, gomail.WithSSL())
	case Off:
		s.options = append(s.options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		s.options = append(s.options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if cfg.Username != "" {
		s.options = append(s.options, gomail.WithOpportunisticSMTPAuth(mechanisms...), gomail.WithUsername(cfg.Username), gomail.WithPassword(cfg.Password))
	}
	return s, nil
}

var (
	errServer = errors.New("the mail server must be a host and a port, such as smtp.example.com:587")
	errFrom   = errors.New("from must be one e-mail address, such as \"Example Bank <no-reply@example.com>\"")
)

// Check reports what is wrong with a config. The password is not looked at.
func (c Config) Check() error {
	host, port, err := splitServer(c.Server)
	if err != nil {
		return err
	}
	if !isAddress(c.From, true) {
		return errFrom
	}
	switch c.mode(port) {
	case StartTLS, Implicit:
		return nil
	case Off:
		if !isLoopback(host) {
			return errors.New("mail without TLS is taken for loopback hosts only")
		}
		return nil
	}
	return fmt.Errorf("tls '%s' must be %s, %s or %s", c.TLS, StartTLS, Implicit, Off)
}

// mode is how the connection is protected.
func (c Config) mode(port int) TLS {
	switch {
	case c.TLS != "":
		return c.TLS
	case port == implicitPort:
		return Implicit
	}
	return StartTLS
}

func splitServer(server string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(server)
	if err != nil || host == "" {
		return "", 0, errServer
	}
	port, err = strconv.Atoi(digits)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, errServer
	}
	return host, port, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isAddress reports whether s is exactly one address, with a name if that is
// allowed, and nothing by which a header could be added.
func isAddress(s string, named bool) bool {
	if strings.ContainsAny(s, "\r\n\x00") {
		return false
	}
	parsed, err := netmail.ParseAddress(s)
	return err == nil && (named || parsed.Address == s)
}

// Message is what is sent.
type Message struct {
	// ID makes the message known by the same id each time that it is sent.
	ID string

	// To is the address of the customer, without a name.
	To string

	// Expires is when the message is void.
	Expires time.Time

	// View is what the templates get.
	View View
}

// Send sends one message. Errors are marked as the package notice describes, and
// hold neither the password nor the address of the customer.
func (s *Sender) Send(ctx context.Context, m Message) error {
	if !isAddress(m.To, false) {
		return notice.Permanent(errors.New("the customer's address is none"))
	}
	message, err := s.compose(m)
	if err != nil {
		return notice.Permanent(err)
	}
	client, err := gomail.NewClient(s.host, append(s.options[:len(s.options):len(s.options)], gomail.WithDialContextFunc(s.dialer(ctx)))...)
	if err != nil {
		return notice.Permanent(fmt.Errorf("preparing mail: %w", err))
	}
	connection, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return connectError(err)
	}
	err = client.SendWithSMTPClient(connection, message)
	// The message is out or not; how the connection ends changes nothing.
	_ = client.CloseWithSMTPClient(connection)
	return sendError(err)
}

// dialer returns what connects to the server. The connection ends with the context:
// the library looks at it only until there is one.
func (s *Sender) dialer(ctx context.Context) gomail.DialContextFunc {
	return func(dialing context.Context, network, address string) (net.Conn, error) {
		plain, err := new(net.Dialer).DialContext(dialing, network, address)
		if err != nil {
			return nil, err
		}
		// The connection that has ended by itself is closed a second time, which
		// does nothing.
		context.AfterFunc(ctx, func() { _ = plain.Close() })
		if !s.implicit {
			return plain, nil
		}
		secure := tls.Client(plain, s.tls)
		err = secure.HandshakeContext(dialing)
		if err != nil {
			_ = plain.Close()
			return nil, err
		}
		return secure, nil
	}
}

// compose makes the message.
func (s *Sender) compose(m Message) (*gomail.Msg, error) {
	subject, text, html, err := s.cfg.Templates.render(m.View)
	if err != nil {
		return nil, err
	}
	message := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	message.FromMailAddress(s.from)
	err = message.To(m.To)
	if err != nil {
		return nil, errors.New("the customer's address is none")
	}
	message.Subject(subject)
	message.SetDateWithValue(s.cfg.Now())
	message.SetMessageIDWithValue(m.ID + "@" + messageDomain(m.View.URL))
	message.SetGenHeader("Content-Language", m.View.Language)
	message.SetGenHeader("Expires", m.Expires.UTC().Format(time.RFC1123Z))
	// Nobody's out-of-office notice should answer it (RFC 3834).
	message.SetGenHeader("Auto-Submitted", "auto-generated")
	message.SetGenHeader("X-Auto-Response-Suppress", "All")
	message.SetBodyString(gomail.TypeTextPlain, text)
	message.AddAlternativeString(gomail.TypeTextHTML, html)
	return message, nil
}

// messageDomain is the right side of message ids: the host of the app.
func messageDomain(app string) string {
	u, err := url.Parse(app)
	if err != nil || u.Hostname() == "" {
		return "localhost"
	}
	return u.Hostname()
}

// connectError tells why there is no connection. What the server says about itself
// or the password is left out but for the code.
func connectError(err error) error {
	var answer *textproto.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("connecting to the mail server: %w", err)
	}
	err = fmt.Errorf("the mail server has refused the connection with %d", answer.Code)
	if answer.Code >= 500 {
		return notice.Permanent(err)
	}
	return err
}

// sendError tells why a message was not taken. The library's own text names the
// address of the customer.
func sendError(err error) error {
	if err == nil {
		return nil
	}
	var failed *gomail.SendError
	if !errors.As(err, &failed) {
		return errors.New("the mail was not sent")
	}
	told := fmt.Errorf("%s: the mail server has answered with %d", failed.Reason, failed.ErrorCode())
	if failed.ErrorCode() >= 500 {
		return notice.Permanent(told)
	}
	return told
}
