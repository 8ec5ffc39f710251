// Package mailtest is a mail server for tests: a small one that speaks as much SMTP
// (RFC 5321, with STARTTLS and AUTH PLAIN) as it takes to receive a message, and that
// can be told to refuse things.
package mailtest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Message is what the server has received.
type Message struct {
	From, To string // of the envelope
	Data     string // header and body, with lines that end in \r\n
	Secure   bool   // whether it came over TLS
	User     string // who has signed in, or empty
}

// Config says how a server behaves.
type Config struct {
	// Implicit speaks TLS from the first byte on. Otherwise TLS is offered.
	Implicit bool

	// Plain offers no TLS.
	Plain bool

	// Password is what AUTH PLAIN takes, for any user. Empty: AUTH is not offered.
	Password string

	// Refuse maps the first word of a command, such as RCPT, to the line that
	// answers it instead of the right one.
	Refuse map[string]string

	// Silent accepts connections and says nothing.
	Silent bool
}

// Server is a mail server on localhost.
type Server struct {
	// Addr is host and port.
	Addr string

	// Received gets each message that was taken. It has room for 100.
	Received chan Message

	cfg         Config
	certificate tls.Certificate
	listener    net.Listener
	done        sync.WaitGroup
	mu          sync.Mutex
	open        map[net.Conn]bool
}

// New starts a server that ends with the test.
func New(t testing.TB, cfg Config) *Server {
	t.Helper()
	s := &Server{cfg: cfg, Received: make(chan Message, 100), open: make(map[net.Conn]bool)}
	s.certificate = selfSigned(t)
	var err error
	s.listener, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = s.listener.Addr().String()
	s.done.Go(s.accept)
	t.Cleanup(func() {
		_ = s.listener.Close()
		s.mu.Lock()
		for conn := range s.open {
			_ = conn.Close()
		}
		s.mu.Unlock()
		s.done.Wait()
	})
	return s
}

// Roots are the authorities that vouch for the server.
func (s *Server) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.certificate.Leaf)
	return pool
}

// CAFile is a file in PEM with the certificate of the server.
func (s *Server) CAFile(t testing.TB) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "mail.pem")
	err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate.Leaf.Raw}), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open[conn] = true
		s.mu.Unlock()
		s.done.Go(func() {
			(&dialog{server: s, conn: conn}).run()
			s.mu.Lock()
			delete(s.open, conn)
			s.mu.Unlock()
			_ = conn.Close()
		})
	}
}

// dialog is one connection.
type dialog struct {
	server  *Server
	conn    net.Conn
	reader  *bufio.Reader
	message Message
}

func (d *dialog) run() {
	cfg := d.server.cfg
	if cfg.Implicit {
		d.secure()
	}
	d.reader = bufio.NewReader(d.conn)
	if cfg.Silent {
		_, _ = d.reader.ReadByte()
		return
	}
	d.say("220 mail ESMTP")
	for {
		line, err := d.reader.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		refusal, refused := cfg.Refuse[verb]
		switch {
		case refused:
			d.say(refusal)
		case verb == "QUIT":
			d.say("221 bye")
			return
		default:
			d.answer(verb, rest)
		}
	}
}

func (d *dialog) answer(verb, rest string) {
	switch verb {
	case "EHLO":
		d.say("250-mail")
		if !d.message.Secure && !d.server.cfg.Plain {
			d.say("250-STARTTLS")
		}
		if d.server.cfg.Password != "" {
			d.say("250-AUTH PLAIN")
		}
		d.say("250 8BITMIME")
	case "STARTTLS":
		d.say("220 go ahead")
		d.secure()
		d.reader = bufio.NewReader(d.conn)
	case "AUTH":
		d.auth(rest)
	case "MAIL":
		d.message.From = address(rest)
		d.say("250 ok")
	case "RCPT":
		d.message.To = address(rest)
		d.say("250 ok")
	case "DATA":
		d.say("354 go ahead")
		d.data()
	case "RSET", "NOOP":
		d.say("250 ok")
	default:
		d.say("502 what?")
	}
}

func (d *dialog) say(line string) { _, _ = d.conn.Write([]byte(line + "\r\n")) }

func (d *dialog) secure() {
	d.conn = tls.Server(d.conn, &tls.Config{Certificates: []tls.Certificate{d.server.certificate}, MinVersion: tls.VersionTLS12})
	d.message.Secure = true
}

func (d *dialog) auth(rest string) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
	parts := strings.Split(string(raw), "\x00")
	if err != nil || len(parts) != 3 || parts[2] != d.server.cfg.Password {
		d.say("535 5.7.8 the password of " + strings.Join(parts, " ") + " is wrong")
		return
	}
	d.message.User = parts[1]
	d.say("235 ok")
}

func (d *dialog) data() {
	var b strings.Builder
	for {
		line, err := d.reader.ReadString('\n')
		if err != nil {
			return
		}
		if line == ".\r\n" {
			break
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
	d.message.Data = b.String()
	d.server.Received <- d.message
	d.say("250 taken")
}

// address is what stands between < and >.
func address(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}
