package webpush

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	netmail "net/mail"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// DefaultLimit is how many subscriptions a customer may have if [Config] does not
// say otherwise.
const DefaultLimit = 10

// Sealer encrypts what is kept in the store for a named place. *provider.Sealer
// implements it.
type Sealer interface {
	Seal(place string, data []byte) (string, error)
	Open(place, text string) ([]byte, error)
}

// Config is what a [Service] is made of.
type Config struct {
	// Store keeps the key of the operator and the subscriptions. Required.
	Store store.Store

	// Sealer encrypts them there. Required.
	Sealer Sealer

	// Contact is whom a push service turns to when something is wrong with our
	// messages: a mailto: or https: address. Some services refuse messages
	// without a real one. Required.
	Contact string

	// Client posts to push services. Its addresses come from browsers, so that
	// it must not reach networks that are ours. Required.
	Client *http.Client

	// Limit is how many subscriptions a customer may have; a further one takes
	// the place of the oldest. Default: 10.
	Limit int

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Rand is the source of randomness. Default: crypto/rand.Reader.
	Rand io.Reader

	// Logger is told of subscriptions that end. It sees no address of one.
	// Default: none.
	Logger *zap.Logger
}

// Service keeps subscriptions and sends messages to them. It is safe for concurrent
// use.
type Service struct {
	cfg Config

	mu  sync.Mutex
	key *operatorKey // nil until it is needed
}

// New returns a service. It does no I/O.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Sealer == nil || cfg.Client == nil {
		return nil, errors.New("a store, a sealer and an HTTP client are required")
	}
	err := CheckContact(cfg.Contact)
	if err != nil {
		return nil, err
	}
	if cfg.Limit == 0 {
		cfg.Limit = DefaultLimit
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Service{cfg: cfg}, nil
}

// unreachable are the ends of host names that nobody on the Internet reaches, in
// which Apple's push service accepts no contact.
var unreachable = []string{".localhost", ".local", ".invalid", ".test", ".internal", ".home.arpa"}

// CheckContact refuses what push services would not take for a way to reach the
// operator.
func CheckContact(contact string) error {
	host := ""
	address, isMail := strings.CutPrefix(contact, "mailto:")
	if isMail {
		parsed, err := netmail.ParseAddress(address)
		if err == nil && parsed.Address == address {
			_, host, _ = strings.Cut(address, "@")
		}
	} else {
		u, err := url.Parse(contact)
		if err == nil && u.Scheme == "https" && u.User == nil && u.Fragment == "" {
			host = u.Hostname()
		}
	}
	host = strings.ToLower(host)
	_, err := netip.ParseAddr(host)
	if err == nil || !strings.Contains(host, ".") || strings.HasSuffix(host, ".") {
		return errContact
	}
	for _, end := range unreachable {
		if strings.HasSuffix(host, end) {
			return errContact
		}
	}
	return nil
}

var errContact = errors.New("contact must be a real address to reach the operator by, such as mailto:ops@example.com or https://example.com/contact; push services refuse others")

// maxEndpoint bounds the address of a subscription, in bytes.
const maxEndpoint = 2048

// checkEndpoint refuses what is no address of a push service. Where it leads is
// checked when a connection is made.
func checkEndpoint(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || len(raw) > maxEndpoint || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("endpoint: %w", ErrSubscription)
	}
	return nil
}

// origin is the origin of an endpoint, as browsers write it.
func origin(u *url.URL) string {
	return "https://" + strings.TrimSuffix(strings.ToLower(u.Host), ":443")
}
