// Package pushtest is a push service for tests, together with the browsers that have
// subscribed to it: it checks who sends, and decrypts what is sent.
package pushtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Message is what a browser has received.
type Message struct {
	Browser *Browser
	Header  http.Header
	Text    string         // decrypted
	Claims  map[string]any // of the token of the sender
	Key     string         // of the sender, as browsers subscribe with it
}

// Browser is a subscription, from the side of the browser.
type Browser struct {
	// Endpoint, P256DH and Auth are what the browser's page gets.
	Endpoint, P256DH, Auth string

	key    *ecdh.PrivateKey
	secret []byte
}

// Service is a push service on localhost, with TLS.
type Service struct {
	*httptest.Server

	// Received gets each message that was taken. It has room for 100.
	Received chan Message

	t        testing.TB
	mu       sync.Mutex
	status   int
	hold     chan struct{}
	browsers map[string]*Browser
}

// New starts a service that ends with the test.
func New(t testing.TB) *Service {
	t.Helper()
	s := &Service{t: t, Received: make(chan Message, 100), status: http.StatusCreated, browsers: make(map[string]*Browser)}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // senders that refuse to connect
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// Subscribe makes a subscription as a browser does.
func (s *Service) Subscribe() *Browser {
	s.t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	b := &Browser{key: key, secret: make([]byte, 16), P256DH: base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes())}
	_, err = rand.Read(b.secret)
	if err != nil {
		s.t.Fatal(err)
	}
	b.Auth = base64.RawURLEncoding.EncodeToString(b.secret)
	path := "/send/" + rand.Text()
	b.Endpoint = s.URL + path
	s.mu.Lock()
	s.browsers[path] = b
	s.mu.Unlock()
	return b
}

// Answer sets the status of the following answers. A status of 410 is that of
// subscriptions that have ended.
func (s *Service) Answer(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// Hold lets the following requests wait without an answer until the returned
// function is called.
func (s *Service) Hold() (release func()) {
	hold := make(chan struct{})
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
	return sync.OnceFunc(func() { close(hold) })
}

// CAFile is a file in PEM with the certificate of the service.
func (s *Service) CAFile() string {
	s.t.Helper()
	name := filepath.Join(s.t.TempDir(), "push.pem")
	err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	return name
}

// ServeHTTP takes a message.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	browser, status, hold := s.browsers[r.URL.Path], s.status, s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || browser == nil || r.Method != http.MethodPost {
		s.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if status >= 300 {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		return
	}
	m := Message{Browser: browser, Header: r.Header}
	m.Claims, m.Key, err = sender(r.Header.Get("Authorization"))
	if err == nil {
		m.Text, err = browser.decrypt(body)
	}
	if err != nil {
		s.t.Errorf("a message cannot be read: %v", err)
		w.WriteHeader(http.StatusForbidden)
		return
	}
	s.Received <- m
	w.WriteHeader(status)
}

// sender checks who sends (RFC 8292).
func sender(authorization string) (claims map[string]any, key string, err error) {
	rest, ok := strings.CutPrefix(authorization, "vapid t=")
	token, key, ok2 := strings.Cut(rest, ", k=")
	if !ok || !ok2 {
		return nil, "", errors.New("there is no token of the sender")
	}
	point, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		return nil, "", fmt.Errorf("decoding key: %w", err)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, "", fmt.Errorf("decoding key: %w", err)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, "", fmt.Errorf("decoding token: %w", err)
	}
	payload, err := signed.Verify(public)
	if err != nil {
		return nil, "", fmt.Errorf("verifying token: %w", err)
	}
	err = json.Unmarshal(payload, &claims)
	return claims, key, err
}

// decrypt reads a message of one record (RFC 8188, RFC 8291). It derives the keys
// from HMAC, apart from the code that it tests.
func (b *Browser) decrypt(body []byte) (string, error) {
	if len(body) < 86 || body[20] != 65 {
		return "", errors.New("the message has no header")
	}
	salt, point := body[:16], body[21:86]
	from, err := ecdh.P256().NewPublicKey(point)
	if err != nil {
		return "", fmt.Errorf("decoding key: %w", err)
	}
	shared, err := b.key.ECDH(from)
	if err != nil {
		return "", fmt.Errorf("agreeing on a key: %w", err)
	}
	info := "WebPush: info\x00" + string(b.key.PublicKey().Bytes()) + string(point)
	material := mac(mac(b.secret, shared), []byte(info+"\x01"))
	prk := mac(salt, material)
	block, err := aes.NewCipher(mac(prk, []byte("Content-Encoding: aes128gcm\x00\x01"))[:16])
	if err != nil {
		return "", fmt.Errorf("making cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return "", fmt.Errorf("making cipher: %w", err)
	}
	plain, err := aead.Open(nil, mac(prk, []byte("Content-Encoding: nonce\x00\x01"))[:12], body[86:], nil)
	if err != nil {
		return "", fmt.Errorf("decrypting: %w", err)
	}
	text, last := strings.CutSuffix(strings.TrimRight(string(plain), "\x00"), "\x02")
	if !last {
		return "", errors.New("the record is not the last one")
	}
	return text, nil
}

func mac(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)
}
