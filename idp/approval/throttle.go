package approval

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// throttleKind is the record kind of attempt counters in the store.
	throttleKind = "idp.attempts"

	// attemptWindow is how long an attempt counts.
	attemptWindow = 15 * time.Minute

	// userAttempts is how many passwords may be tried for one user name within
	// the window, from wherever.
	userAttempts = 10

	// sessionAttempts is how many passwords may be tried within the window by
	// a browser that is signed in. One more, and the session ends.
	sessionAttempts = 5

	// codeAttempts is how many codes of an authenticator app, or recovery codes, may
	// be tried for one customer within the window, from wherever.
	codeAttempts = 5

	// sourceAttempts is how many passwords may be tried from one source within
	// the window, for whichever user names.
	sourceAttempts = 100

	// throttleTries bounds how often a lost race for a counter is repeated.
	throttleTries = 16
)

// attempts is what the store keeps of a counter.
type attempts struct {
	Count int       `json:"count"`
	Since time.Time `json:"since"` // start of the window
}

// counter names a counter by what it counts. User names are hashed: what is
// typed into the name field is now and then a password.
type counter struct {
	id    string
	limit int
}

func userCounter(name string) counter {
	return counter{id: counterID("user", name), limit: userAttempts}
}

// sessionCounter counts by the id of the session's record, which is no secret.
func sessionCounter(id string) counter {
	return counter{id: counterID("session", id), limit: sessionAttempts}
}

// codeCounter counts by the subject, so that no other session helps.
func codeCounter(subject string) counter {
	return counter{id: counterID("code", subject), limit: codeAttempts}
}

// recoveryCounter counts recovery codes by the user name, as it was typed.
func recoveryCounter(name string) counter {
	return counter{id: counterID("recovery", strings.ToLower(name)), limit: codeAttempts}
}

func sourceCounter(source string) counter {
	return counter{id: counterID("source", source), limit: sourceAttempts}
}

func counterID(kind, value string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + value))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// takeAttempt counts an attempt before it is made, so that a burst of parallel
// attempts cannot slip through between look and count. A positive wait means
// that the attempt must not be made and may be repeated after it.
func (a *App) takeAttempt(ctx context.Context, c counter) (wait time.Duration, err error) {
	for range throttleTries {
		wait, err = a.tryTakeAttempt(ctx, c)
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound) {
			continue
		}
		return wait, err
	}
	// So many writers at once for one counter: that is the flood which the
	// counter is there for.
	return time.Second, nil
}

func (a *App) tryTakeAttempt(ctx context.Context, c counter) (time.Duration, error) {
	now := a.cfg.Now()
	rec, err := a.cfg.Store.Get(ctx, throttleKind, c.id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, a.createAttempts(ctx, c, now)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the attempt counter: %w", err)
	}
	var n attempts
	err = json.Unmarshal(rec.Data, &n)
	if err != nil {
		return 0, fmt.Errorf("decoding the attempt counter: %w", err)
	}
	end := n.Since.Add(attemptWindow)
	if !now.Before(end) {
		n = attempts{Since: now}
		end = now.Add(attemptWindow)
	}
	if n.Count >= c.limit {
		return end.Sub(now), nil
	}
	n.Count++
	rec.Data, err = json.Marshal(n)
	if err != nil {
		return 0, fmt.Errorf("encoding the attempt counter: %w", err)
	}
	rec.Expires = end
	return 0, a.cfg.Store.Update(ctx, rec)
}

func (a *App) createAttempts(ctx context.Context, c counter, now time.Time) error {
	raw, err := json.Marshal(attempts{Count: 1, Since: now})
	if err != nil {
		return fmt.Errorf("encoding the attempt counter: %w", err)
	}
	return a.cfg.Store.Create(ctx, &store.Record{
		Kind: throttleKind, ID: c.id, Data: raw, Expires: now.Add(attemptWindow),
	})
}

// forgetAttempts clears the counter of a user who proved the password. The
// source's counter stays: whoever owns one account could otherwise reset it
// between guesses at others.
func (a *App) forgetAttempts(ctx context.Context, c counter) {
	err := a.cfg.Store.Delete(ctx, throttleKind, c.id, 0)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		a.cfg.Logger.Warn("clearing an attempt counter", errField(err))
	}
}

// giveBackAttempt takes one attempt off a counter again, for a success. It
// tries once: losing the race costs one attempt of the window.
func (a *App) giveBackAttempt(ctx context.Context, c counter) {
	rec, err := a.cfg.Store.Get(ctx, throttleKind, c.id)
	if err != nil {
		return
	}
	var n attempts
	err = json.Unmarshal(rec.Data, &n)
	if err != nil || n.Count < 1 {
		return
	}
	n.Count--
	rec.Data, err = json.Marshal(n)
	if err != nil {
		return
	}
	err = a.cfg.Store.Update(ctx, rec)
	if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		a.cfg.Logger.Warn("giving back an attempt", errField(err))
	}
}

// source names where a request comes from for the purpose of counting: the
// IPv4 address, or the /64 of an IPv6 address, which one subscriber has whole.
func (a *App) source(r *http.Request) string {
	raw := a.cfg.ClientIP(r)
	addr, err := netip.ParseAddr(strings.TrimSpace(raw))
	if err != nil {
		return raw
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return addr.String()
	}
	return prefix.String()
}

// remoteIP is the default of Config.ClientIP: the peer of the connection.
func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
