package approval

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/approval/webpush"
	"github.com/caddyciba/gateway/idp/provider"
)

// Defaults of [Config], used for values that are zero.
const (
	DefaultSessionIdle     = 30 * time.Minute
	DefaultSessionLifetime = 12 * time.Hour

	// DefaultEvidenceLifetime is a year and a month.
	DefaultEvidenceLifetime = 400 * 24 * time.Hour
)

// Provider is what the app needs of an OpenID Provider. *provider.Provider
// implements it, and documents what the methods do.
type Provider interface {
	Pending(ctx context.Context, subject string) ([]*provider.Request, error)
	Request(ctx context.Context, subject, id string) (*provider.Request, error)
	Approve(ctx context.Context, a provider.Approval) error
	Deny(ctx context.Context, subject, id string) error
	Report(ctx context.Context, subject, id string) error
	ListBlocks(ctx context.Context, subject string) ([]provider.Block, error)
	Unblock(ctx context.Context, subject, clientID string) error
	History(ctx context.Context, subject, after string, limit int) (*provider.HistoryPage, error)
	Logo(ctx context.Context, clientID string) ([]byte, error)
	WatchSubject(subject string) (changes <-chan struct{}, stop func())
}

// Config is what an [App] is made of.
type Config struct {
	// Provider holds the requests that customers decide. Required.
	Provider Provider

	// Users finds the customers who may sign in. Required.
	Users provider.UserStore

	// Store keeps sessions and attempt counters. Required.
	Store store.Store

	// PublicURL is the address under which customers reach the app, for
	// example https://id.example.com or https://example.com/approvals. It must
	// be https; plain http is taken for loopback hosts only. Every address the
	// app makes comes from here and never from a header. Required.
	PublicURL string

	// BasePath is the path below which the app answers, without a slash at the
	// end. Default: the path of PublicURL, and it must be the same if both are
	// given.
	BasePath string

	// ComparePassword tells whether the password fits the hash, at a cost that
	// does not depend on the answer. Required.
	ComparePassword func(hash, password []byte) (bool, error)

	// FakeHash is a hash of a random password, made with the same algorithm
	// and cost as those of the users. It is compared when a user name is
	// unknown, so that this takes as long as when it is known. Required.
	FakeHash []byte

	// Push sends messages to the browsers in which customers have switched
	// notifications on. Default: none, and the app does not offer it.
	Push *webpush.Service

	// Federations are other OpenID Providers at which customers can sign in.
	// Default: none.
	Federations []Federation

	// Brand is how the app presents itself.
	Brand Brand

	// Templates are files that take the place of the app's own, by name: those of the
	// folder templates, such as page_end.html, and StyleFile. They are trusted. New
	// refuses files that replace nothing, and tries the pages of a decision out with
	// examples. What a template gets may change with the version of the app.
	Templates map[string][]byte

	// ClientIP returns the address of the browser, for counting attempts per
	// source. Default: the peer of the connection.
	ClientIP func(*http.Request) string

	// Location is the time zone in which times are shown where a browser has
	// no JavaScript to show its own. Default: UTC.
	Location *time.Location

	// SessionIdle is how long a session lives without being used.
	// Default: 30m.
	SessionIdle time.Duration

	// SessionLifetime is how long a session lives at most. Default: 12h.
	SessionLifetime time.Duration

	// ProofAge is how long before a request was made the customer may have
	// proven who he is, for an approval without doing so again. By default
	// only a proof that is newer than the request counts: who was signed in
	// before types the password to approve, and auth_time in the ID Token is
	// never before the request. Default: 0.
	ProofAge time.Duration

	// Factors keeps passkeys, one-time codes and enrollment links. Default: a vault
	// in Store for the origin of PublicURL, which encrypts nothing.
	Factors *factor.Vault

	// Classes are the authentication context classes of the ways to prove who one
	// is, for requests that demand some. A request that demands others can't be
	// approved here.
	Classes Classes

	// EvidenceLifetime is for how long it is kept what a customer was shown and how
	// it was approved. Default: 400 days.
	EvidenceLifetime time.Duration

	// PasswordSlots is how many passwords are checked at the same time.
	// Default: the number of CPUs.
	PasswordSlots int

	// OnChange is told of every change of what a customer proves with. The
	// customer's browser waits for it. Default: nothing.
	OnChange func(context.Context, Change)

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Rand is the source of randomness. Default: crypto/rand.Reader.
	Rand io.Reader

	// Logger receives causes of errors and one line for each sign-in and
	// decision. No secret and nothing that a customer typed is ever logged.
	// Default: none.
	Logger *zap.Logger
}

// App is the web app. It is an http.Handler, safe for concurrent use.
type App struct {
	cfg         Config
	origin      string // scheme://host, as browsers write it in Origin
	host        string // host and port as in Origin
	base        string // base path, without a slash at the end
	secure      bool   // https
	crossOrigin *http.CrossOriginProtection
	slots       chan struct{}
	streams     *streams
	routes      *routes
	locales     *locales
	assets      *assets
	worker      []byte // the service worker
	logos       logos
	pages       map[string]pageSet // by language
}

// New returns an app. It does no I/O; every mistake that it finds is in the
// error.
func New(cfg Config) (*App, error) {
	cfg = cfg.withDefaults()
	err := cfg.validate()
	if err != nil {
		return nil, err
	}
	public, err := parsePublicURL(cfg.PublicURL)
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(public.Path, "/")
	if cfg.BasePath != "" && cfg.BasePath != base {
		if base != "" {
			return nil, fmt.Errorf("base path %q is not the path of public URL %q", cfg.BasePath, cfg.PublicURL)
		}
		base = cfg.BasePath
	}
	if base != "" && (base[0] != '/' || path.Clean(base) != base) {
		return nil, fmt.Errorf("base path %q is not canonical", base)
	}
	a := &App{
		cfg:         cfg,
		secure:      public.Scheme == "https",
		base:        base,
		crossOrigin: http.NewCrossOriginProtection(),
		slots:       make(chan struct{}, cfg.PasswordSlots),
		streams:     newStreams(),
		routes:      newRoutes(),
		logos:       logos{known: map[string]*logo{}},
	}
	a.host = strings.ToLower(canonicalHost(public.Host, a.secure))
	a.origin = public.Scheme + "://" + a.host
	if a.cfg.Factors == nil {
		a.cfg.Factors, err = factor.New(factor.Config{
			Store: cfg.Store, Origin: a.origin, Name: cfg.Brand.Name, Now: cfg.Now, Rand: cfg.Rand,
		})
		if err != nil {
			return nil, fmt.Errorf("factors: %w", err)
		}
	}
	th, err := newTheme(cfg.Brand.Accent)
	if err != nil {
		return nil, fmt.Errorf("brand: %w", err)
	}
	a.locales, err = loadLocales()
	if err != nil {
		return nil, err
	}
	err = checkTemplateNames(cfg.Templates)
	if err != nil {
		return nil, err
	}
	err = a.addFederations()
	if err != nil {
		return nil, err
	}
	a.assets, err = loadAssets(a.base, cfg.Brand, th, cfg.Templates[StyleFile])
	if err != nil {
		return nil, err
	}
	a.pages, err = a.loadPages()
	if err != nil {
		return nil, err
	}
	err = a.checkPages()
	if err != nil {
		return nil, err
	}
	a.worker, err = a.loadWorker()
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (c Config) withDefaults() Config {
	if c.Brand.Name == "" {
		c.Brand.Name = defaultBrandName
	}
	if c.Brand.Accent == "" {
		c.Brand.Accent = defaultAccent
	}
	if c.ClientIP == nil {
		c.ClientIP = remoteIP
	}
	if c.Location == nil {
		c.Location = time.UTC
	}
	if c.SessionIdle == 0 {
		c.SessionIdle = DefaultSessionIdle
	}
	if c.SessionLifetime == 0 {
		c.SessionLifetime = DefaultSessionLifetime
	}
	if c.EvidenceLifetime == 0 {
		c.EvidenceLifetime = DefaultEvidenceLifetime
	}
	if c.Classes.Passkey == nil {
		c.Classes.Passkey = []string{ClassPhishingResistant}
	}
	if c.PasswordSlots == 0 {
		c.PasswordSlots = runtime.GOMAXPROCS(0)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.Provider == nil {
		errs = append(errs, errors.New("a provider is required"))
	}
	if c.Users == nil {
		errs = append(errs, errors.New("a user store is required"))
	}
	if c.Store == nil {
		errs = append(errs, errors.New("a store is required"))
	}
	if c.ComparePassword == nil || len(c.FakeHash) == 0 {
		errs = append(errs, errors.New("a password comparison and a fake hash are required"))
	}
	if c.SessionIdle < 0 || c.SessionLifetime < 0 || c.ProofAge < 0 || c.PasswordSlots < 0 || c.EvidenceLifetime < 0 {
		errs = append(errs, errors.New("session times, proof age, evidence lifetime and password slots must not be negative"))
	}
	if utf8.RuneCountInString(c.Brand.Name) > maxBrandName {
		errs = append(errs, fmt.Errorf("the brand name has more than %d characters", maxBrandName))
	}
	return errors.Join(errs...)
}

// parsePublicURL checks the public URL.
func parsePublicURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parsing public URL: %w", err)
	}
	switch {
	case raw == "":
		return nil, errors.New("a public URL is required")
	case u.Host == "" || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.RawPath != "":
		return nil, fmt.Errorf("public URL %q is not a plain URL with a host", raw)
	case u.Scheme == "https":
		return u, nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("public URL %q must be https (http is taken for loopback hosts only)", raw)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// isUnknownUser says whether a user store answered that there is no such user.
func isUnknownUser(u *provider.User, err error) bool {
	return errors.Is(err, provider.ErrUserNotFound) || err == nil && u == nil
}
