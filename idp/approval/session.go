package approval

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

const (
	// sessionKind is the record kind of sessions in the store.
	sessionKind = "idp.session"

	// sessionSubject is the index by which a customer's sessions are found.
	sessionSubject = "subject"

	// secretLen is the length of session ids and form secrets: 256 bits.
	secretLen = 32
)

// errNoSession says that the browser has no valid session. Any other error of
// the session functions means that the store could not answer.
var errNoSession = errors.New("no session")

// session is a signed-in browser. The id is only known to that browser's
// cookie; the store knows its SHA-256.
type session struct {
	secret []byte // the id, key of the form tokens
	record *store.Record
	data   sessionData
	user   *provider.User
}

// sessionData is what the store keeps of a session.
type sessionData struct {
	Subject  string    `json:"subject"`
	Created  time.Time `json:"created"`
	Seen     time.Time `json:"seen"`
	AuthTime time.Time `json:"auth_time"` // when the customer last proved who he is
	AMR      []string  `json:"amr"`       // RFC 8176 names of how
	Method   method    `json:"method"`
	Classes  []string  `json:"acr,omitempty"` // beyond those of the method
	Device   string    `json:"device,omitempty"`

	// Federation names the other provider at which the customer has proven himself.
	Federation string `json:"federation,omitempty"`

	Source string `json:"source,omitempty"`
}

// proof is what the session's customer has proven.
func (d *sessionData) proof() proof {
	return proof{Method: d.Method, AMR: d.AMR, More: d.Classes, At: d.AuthTime, Federation: d.Federation}
}

// prove notes a proof.
func (d *sessionData) prove(p proof) {
	d.Method, d.AMR, d.Classes, d.AuthTime, d.Federation = p.Method, p.AMR, p.More, p.At, p.Federation
}

// cookieName returns the name of a cookie. With https it has the __Host-
// prefix, by which browsers guarantee that it was set by this host, over TLS,
// for this host alone. The prefix needs Secure, which plain http on loopback
// cannot give, so the name differs there and neither is taken for the other.
func (a *App) cookieName(name string) string {
	if a.secure {
		return "__Host-approval-" + name
	}
	return "approval-" + name + "-insecure"
}

// setCookie sets a cookie for as long as the browser runs. It is SameSite=Lax:
// a customer comes here by a link in an e-mail or a notification, and with
// Strict the first page after such a link would not know him. Lax sends the
// cookie with top-level GET navigations only; those change nothing, and what
// changes something is a POST that csrf.go guards twice.
func (a *App) setCookie(w http.ResponseWriter, name string, secret []byte) {
	http.SetCookie(w, &http.Cookie{
		Name:     a.cookieName(name),
		Value:    base64.RawURLEncoding.EncodeToString(secret),
		Path:     "/",
		Secure:   a.secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// clearCookie removes a cookie from the browser.
func (a *App) clearCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{
		Name:     a.cookieName(name),
		Path:     "/",
		MaxAge:   -1,
		Secure:   a.secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// cookieSecret reads a cookie that setCookie has set. A cookie that comes
// twice is not believed at all: one of the two was planted.
func (a *App) cookieSecret(r *http.Request, name string) ([]byte, bool) {
	cookies := r.CookiesNamed(a.cookieName(name))
	if len(cookies) != 1 || len(cookies[0].Value) != base64.RawURLEncoding.EncodedLen(secretLen) {
		return nil, false
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(cookies[0].Value)
	if err != nil {
		return nil, false
	}
	return secret, true
}

// newSecret draws 256 bits.
func (a *App) newSecret() ([]byte, error) {
	secret := make([]byte, secretLen)
	_, err := io.ReadFull(a.cfg.Rand, secret)
	if err != nil {
		return nil, fmt.Errorf("drawing a session id: %w", err)
	}
	return secret, nil
}

// sessionRecordID is the id under which the store knows a session.
func sessionRecordID(secret []byte) string {
	sum := sha256.Sum256(secret)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// expiry returns when a session ends: by idleness or by age, whichever is first.
func (a *App) expiry(d sessionData) time.Time {
	idle := d.Seen.Add(a.cfg.SessionIdle)
	absolute := d.Created.Add(a.cfg.SessionLifetime)
	if absolute.Before(idle) {
		return absolute
	}
	return idle
}

// startSession makes a new session with a new id and hands it to the browser.
// A session that the browser had before ends: nobody who knew the old id is
// carried along (session fixation).
func (a *App) startSession(w http.ResponseWriter, r *http.Request, user *provider.User, p proof) (*session, error) {
	ctx := r.Context()
	old, had := a.cookieSecret(r, "session")
	if had {
		err := a.cfg.Store.Delete(ctx, sessionKind, sessionRecordID(old), 0)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("ending the old session: %w", err)
		}
	}
	secret, err := a.newSecret()
	if err != nil {
		return nil, err
	}
	now := a.cfg.Now()
	data := sessionData{
		Subject: user.ID, Created: now, Seen: now,
		Device: device(r.UserAgent()), Source: a.source(r),
	}
	data.prove(p)
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encoding the session: %w", err)
	}
	record := &store.Record{
		Kind:    sessionKind,
		ID:      sessionRecordID(secret),
		Data:    raw,
		Indexes: []store.Index{{Name: sessionSubject, Value: user.ID}},
		Expires: a.expiry(data),
	}
	err = a.cfg.Store.Create(ctx, record)
	if err != nil {
		return nil, fmt.Errorf("storing the session: %w", err)
	}
	a.setCookie(w, "session", secret)
	a.clearCookie(w, "form")
	return &session{secret: secret, record: record, data: data, user: user}, nil
}

// session returns the session of the browser with its user as he is now, or
// errNoSession: no cookie, an id that the store does not know, a session past
// its end, or a user that is gone or disabled.
func (a *App) session(r *http.Request) (*session, error) {
	ctx := r.Context()
	secret, ok := a.cookieSecret(r, "session")
	if !ok {
		return nil, errNoSession
	}
	rec, err := a.cfg.Store.Get(ctx, sessionKind, sessionRecordID(secret))
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoSession
	}
	if err != nil {
		return nil, fmt.Errorf("reading the session: %w", err)
	}
	s := &session{secret: secret, record: rec}
	err = json.Unmarshal(rec.Data, &s.data)
	if err != nil {
		return nil, fmt.Errorf("decoding the session: %w", err)
	}
	now := a.cfg.Now()
	if !now.Before(a.expiry(s.data)) {
		return nil, errNoSession
	}
	s.user, err = a.cfg.Users.BySubject(ctx, s.data.Subject)
	if isUnknownUser(s.user, err) {
		return nil, errNoSession
	}
	if err != nil {
		return nil, fmt.Errorf("reading the user: %w", err)
	}
	if s.user.Disabled {
		return nil, errNoSession
	}
	// What a page fetches by itself in the background is no use of the session:
	// a phone that lies on a table shall sign out. A page that is opened through the
	// service worker also has the destination "empty", but its mode tells.
	if r.Header.Get("Sec-Fetch-Dest") != "empty" || r.Header.Get("Sec-Fetch-Mode") == "navigate" {
		a.touch(ctx, s, now)
	}
	return s, nil
}

// touch notes that the session is in use, at most once in a tenth of the idle
// time: a durable write for every page would be a waste. A write that loses to
// another one, or to a store that is down, only means that the session ends a
// little earlier.
func (a *App) touch(ctx context.Context, s *session, now time.Time) {
	if now.Sub(s.data.Seen) < a.cfg.SessionIdle/10 {
		return
	}
	s.data.Seen = now
	err := a.saveSession(ctx, s)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		a.cfg.Logger.Warn("prolonging a session", errField(err))
	}
}

// saveSession writes the session's data back.
func (a *App) saveSession(ctx context.Context, s *session) error {
	raw, err := json.Marshal(s.data)
	if err != nil {
		return fmt.Errorf("encoding the session: %w", err)
	}
	s.record.Data = raw
	s.record.Expires = a.expiry(s.data)
	return a.cfg.Store.Update(ctx, s.record)
}

// endSession forgets the session on both sides.
func (a *App) endSession(w http.ResponseWriter, r *http.Request, s *session) error {
	err := a.cfg.Store.Delete(r.Context(), sessionKind, s.record.ID, 0)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("ending the session: %w", err)
	}
	a.clearCookie(w, "session")
	return nil
}
