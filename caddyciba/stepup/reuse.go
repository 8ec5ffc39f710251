package stepup

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

const (
	// maxReusable is how many approvals a gate remembers for later requests. Beyond
	// it the customer is asked again.
	maxReusable = 10000

	// reuseMargin is how long before its end an access token is not used any more.
	reuseMargin = 5 * time.Second
)

// reuseKey says to which requests an approval extends. It is a hash, so that what
// is remembered cannot be searched for people.
type reuseKey [sha256.Size]byte

// reuseOf makes the key of a caller and a customer on a route. Each part has its
// length in front, so that no two triples have one key.
func reuseOf(rt *Route, caller, customer string) reuseKey {
	var buffer [256]byte
	text := buffer[:0]
	for _, part := range []string{rt.ReuseKey, caller, customer} {
		text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	return sha256.Sum256(text)
}

// reusable is an approval that covers later requests.
type reusable struct {
	approval *Approval
	header   http.Header // what the operator has configured
	tokens   *ciba.Tokens
	cleaner  *Cleaner // removes what only the gate may set
	until    time.Time
}

// reuses are the approvals that cover later requests, of this process alone and in
// memory alone.
type reuses struct {
	mu    sync.RWMutex
	known map[reuseKey]*reusable
}

func (u *reuses) get(key reuseKey, now time.Time) *reusable {
	u.mu.RLock()
	found := u.known[key]
	u.mu.RUnlock()
	if found == nil || !now.Before(found.until) {
		return nil
	}
	return found
}

// put remembers an approval, if there is room for it once those that are over have
// been forgotten.
func (u *reuses) put(key reuseKey, r *reusable, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil {
		u.known = make(map[reuseKey]*reusable)
	}
	if len(u.known) >= maxReusable {
		for other, old := range u.known {
			if !now.Before(old.until) {
				delete(u.known, other)
			}
		}
	}
	_, there := u.known[key]
	if there || len(u.known) < maxReusable {
		u.known[key] = r
	}
}

// forget drops an approval.
func (u *reuses) forget(key reuseKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.known, key)
}

// remember lets the approval of a request that was answered cover later ones, as
// the route says, until its token ends. The approval of a caller of whom nothing is
// known but the address covers nobody.
func (h *hold) remember(tokens *ciba.Tokens) {
	if h.route.Reuse <= 0 || h.ask.Anonymous || h.ask.Caller == "" {
		return
	}
	now := h.gate.now()
	until := h.entry.Times[StateApproved].Add(h.route.Reuse)
	if end := tokens.ExpiresAt.Add(-reuseMargin); !tokens.ExpiresAt.IsZero() && end.Before(until) {
		until = end
	}
	if !now.Before(until) {
		return
	}
	approval := &Approval{Transaction: h.entry.clone(), Claims: tokens.Claims}
	header := make(http.Header)
	h.setHeaders(header, approval)
	bound := &ciba.Tokens{AccessToken: tokens.AccessToken, DPoPKey: tokens.DPoPKey}
	h.gate.reuses.put(reuseOf(h.route, h.ask.Caller, h.ask.Customer), &reusable{
		approval: approval, header: header, tokens: bound, until: until, cleaner: NewCleaner(h.route.OwnHeaders()...),
	}, now)
}

// Covered returns the request to send if an earlier approval of this caller and
// customer covers it: a copy of r with the customer's token and what else the gate
// sets. Without such an approval, or where Route.When finds that the request needs
// none, it returns nil, and r is for Serve.
//
// Target and headers are checked as for every request; the error is a *Refusal. A
// body is passed on unread, but for one that some framework may take for a form: it
// could name another method than the request line, and is read within the bounds of
// the route and checked as for every request. What is sent is an ordinary request
// then: it is not in the journal, and nothing keeps it from being repeated.
//
// Caller must be who authentication has found, never an address.
func (g *Gate) Covered(w http.ResponseWriter, r *http.Request, rt *Route, caller, customer string) (*http.Request, *Approval, error) {
	if rt.Reuse <= 0 || caller == "" || customer == "" {
		return nil, nil, nil
	}
	now := g.now()
	found := g.reuses.get(reuseOf(rt, caller, customer), now)
	if found == nil || rt.When != nil && !neededUnread(r, rt) {
		return nil, nil, nil
	}
	err := CheckTarget(r)
	if err != nil {
		return nil, nil, err
	}
	err = checkUpgrade(r)
	if err != nil {
		return nil, nil, err
	}
	token := make(http.Header, 2)
	target := ""
	if found.tokens.DPoPKey != "" {
		target = rt.proofTarget(schemeOf(r), r.Host, r.URL)
	}
	err = g.setToken(r.Context(), rt, found.tokens, token, r.Method, target)
	if err != nil {
		// Its key is gone, or the store is down: the engine asks again, or says so.
		g.log.Warn("an earlier approval cannot be used", zap.String("route", rt.Name), zap.Error(err))
		return nil, nil, nil
	}
	err = found.cleaner.Clean(r, nil)
	if err != nil {
		return nil, nil, err
	}
	err = checkCoveredForm(w, r, rt)
	if err != nil {
		return nil, nil, err
	}
	if g.audit != nil {
		err = g.noteReused(rt, found.approval, r, caller, customer)
		if err != nil {
			return nil, nil, err
		}
	}
	out := new(http.Request)
	*out = *r
	out.Header = make(http.Header, len(r.Header)+len(found.header)+len(token))
	maps.Copy(out.Header, r.Header)
	for name, values := range found.header {
		// Handlers behind us may change values in their place.
		out.Header[name] = slices.Clone(values)
	}
	maps.Copy(out.Header, token)
	g.observe(Event{Type: EventReused, Time: now, Route: rt.Name})
	return out, found.approval, nil
}

// neededUnread asks the route's condition about a request whose body is not read,
// and leaves the request as it is. What cannot be judged without the body, or is
// not in order, is for Serve.
func neededUnread(r *http.Request, rt *Route) bool {
	probe := new(http.Request)
	*probe = *r
	probe.Header, probe.Body = r.Header.Clone(), http.NoBody
	if CheckTarget(probe) != nil || Clean(probe, rt.OwnHeaders()...) != nil {
		return false
	}
	s := headOf(probe)
	needed, err := rt.When(r.Context(), s, NewDocument(s, rt.Namespaces))
	return err == nil && needed
}

// checkCoveredForm refuses a form with a field that overrides the method, of a
// request that is otherwise passed on unread.
func checkCoveredForm(w http.ResponseWriter, r *http.Request, rt *Route) error {
	if r.Body == nil || r.Body == http.NoBody || formKindOf(r.Header.Get("Content-Type")) == noForm {
		return nil
	}
	rt = rt.withDefaults()
	s, err := takeSnapshot(w, r, rt.MaxBody, rt.BodyTimeout)
	if err != nil {
		return err
	}
	return NewDocument(s, rt.Namespaces).checkOverride()
}

// Forget makes the customer be asked again, for example because the upstream does
// not take the token any more.
func (g *Gate) Forget(rt *Route, caller, customer string) {
	g.reuses.forget(reuseOf(rt, caller, customer))
}
