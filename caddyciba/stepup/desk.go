package stepup

import (
	"context"
	"crypto/hmac"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// continueKey is the query parameter with which a waiting page posts to the
	// target of its request, for the answer to have the address that links in it
	// are relative to.
	continueKey = "ciba_continue"

	// maxForm is the length of a form of the waiting page in bytes.
	maxForm = 4 << 10

	// formTimeout is how long such a form may take to arrive.
	formTimeout = 10 * time.Second

	// maxStatusWait is how long a status is held back for a caller that asks for
	// that.
	maxStatusWait = 30 * time.Second

	// maxStreams is how many streams of events one gate serves at a time.
	maxStreams = 4096
)

// Desk is where callers see what becomes of their transactions: everything below
// Prefix. It answers for each transaction to its own caller alone: whoever bears
// its name and its credential, or, for a browser, the cookie that it got with the
// address of its waiting page. For everybody else there is no such transaction.
// A Desk is safe for concurrent use.
type Desk struct {
	// Gates returns the gates whose transactions are asked for. Required.
	Gates func() []*Gate

	// Caller names who sends a request, in the way in which Ask.Caller does. Empty
	// is nobody. Required.
	Caller func(*http.Request) string
}

// Concerns reports whether r is for a Desk: by its path, or because a waiting
// page has posted it.
func Concerns(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, Prefix) || isContinue(r)
}

// isContinue reports whether a waiting page posts to the target of its request.
func isContinue(r *http.Request) bool {
	return r.Method == http.MethodPost && (r.URL.RawQuery == continueKey || strings.HasSuffix(r.URL.RawQuery, "&"+continueKey))
}

// Serve answers r. Its error is a *Refusal, with nothing written. It panics with
// http.ErrAbortHandler after an answer of the upstream's that broke off.
func (d *Desk) Serve(w http.ResponseWriter, r *http.Request) error {
	rest, ok := strings.CutPrefix(r.URL.Path, statusPrefix)
	if !ok {
		if isContinue(r) {
			return d.serveContinueAt(w, r)
		}
		return d.serveAsset(w, r)
	}
	handle, action, _ := strings.Cut(rest, "/")
	c, err := d.find(r, handle)
	if err != nil {
		return err
	}
	switch action {
	case "":
		return c.serveStatus(w, r)
	case "result":
		return c.serveResult(w, r)
	case "events":
		return c.serveEvents(w, r)
	case "cancel":
		return c.serveCancel(w, r)
	case "continue":
		return c.serveContinue(w, r)
	default:
		return notFound()
	}
}

// lookupRefusal is the answer when the store cannot say what has become of a request,
// which says nothing of whether it was sent.
func lookupRefusal(err error) *Refusal {
	f := refuse(ProblemUnavailable, "It cannot be said now what has become of the request. Ask again later.", err)
	f.Forwarded, f.RetryAfter = ForwardedUnknown, storeRetryAfter
	return f
}

// notFound is the one answer for what does not exist and for what is somebody
// else's (threats S01, S02).
func notFound() *Refusal {
	return refuse(ProblemNoTransaction, "Nothing is known under this address to this caller.", nil)
}

// counter is one transaction that its own caller is looking at.
type counter struct {
	gate *Gate
	*view

	// cookie says that it is the cookie by which the caller is known.
	cookie bool
}

// find returns the transaction of a handle, if it is the caller's. Its error is a
// *Refusal.
func (d *Desk) find(r *http.Request, handle string) (*counter, error) {
	gates := d.Gates()
	for _, g := range gates {
		id, ok, err := g.vault.transaction(r.Context(), handle)
		if err != nil {
			return nil, lookupRefusal(err)
		}
		if !ok {
			continue
		}
		t, err := g.journal.Get(r.Context(), id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, notFound()
		}
		if err != nil {
			return nil, lookupRefusal(err)
		}
		// Of several gates of that name, as after a reload, the one that has it.
		i := slices.IndexFunc(gates, func(g *Gate) bool { return g.name == t.Gate && g.Serves(id) })
		if i < 0 {
			i = slices.IndexFunc(gates, func(g *Gate) bool { return g.name == t.Gate })
		}
		if i < 0 {
			return nil, notFound()
		}
		v, err := gates[i].view(r.Context(), t)
		if err != nil {
			return nil, lookupRefusal(err)
		}
		c := &counter{gate: gates[i], view: v}
		err = c.admit(r, d.Caller(r))
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	return nil, notFound()
}

// admit refuses everybody but the transaction's caller.
func (c *counter) admit(r *http.Request, caller string) error {
	secret, err := c.gate.vault.cookieSecret(r.Context(), c.ID)
	if err != nil {
		return lookupRefusal(err)
	}
	for _, cookie := range r.CookiesNamed(cookieName(c.ID)) {
		if hmac.Equal([]byte(cookie.Value), []byte(secret)) {
			c.cookie = true
			return nil
		}
	}
	if c.file != nil && c.file.CookieOnly {
		return notFound()
	}
	if caller != "" && hmac.Equal([]byte(Fingerprint(caller)), []byte(c.Caller)) {
		return nil
	}
	if c.file == nil || len(c.file.Credential) == 0 || !hmac.Equal(credentialOf(r), c.file.Credential) {
		return notFound()
	}
	return nil
}

// allow refuses methods that are not allowed here.
func allow(r *http.Request, methods ...string) error {
	if slices.Contains(methods, r.Method) {
		return nil
	}
	f := refuse(ProblemMethodNotAllowed, "See the header Allow.", nil)
	f.Allow = strings.Join(methods, ", ")
	return f
}

// serveStatus answers what has become of the transaction so far, or cancels it.
func (c *counter) serveStatus(w http.ResponseWriter, r *http.Request) error {
	err := allow(r, http.MethodGet, http.MethodHead, http.MethodDelete)
	if err != nil {
		return err
	}
	if r.Method == http.MethodDelete {
		return c.serveCancel(w, r)
	}
	err = c.pace()
	if err != nil {
		return err
	}
	err = c.linger(r)
	if err != nil {
		return err
	}
	if IsNavigation(r) {
		return c.servePage(w, r)
	}
	writeStatus(w, r, http.StatusOK, c.status())
	return nil
}

// linger holds the answer back until something has changed, for a caller that
// asks for that (RFC 7240 section 4.3).
func (c *counter) linger(r *http.Request) error {
	p := preferences(r.Header)
	if p.broken {
		return refuse(ProblemPreference, "The preference wait is a number of seconds.", nil)
	}
	if p.wait <= 0 || c.State.Final() {
		return nil
	}
	waiting, visit := c.gate.door.enter(r.Context())
	defer visit.leave()
	ctx, cancel := context.WithTimeout(waiting, min(p.wait, maxStatusWait))
	defer cancel()
	before := c.State
	t, err := c.gate.journal.awaitChange(ctx, c.ID, func(t *Transaction) bool { return t.State != before })
	if t == nil {
		return lookupRefusal(err)
	}
	c.view, err = c.gate.view(r.Context(), t)
	if err != nil {
		return lookupRefusal(err)
	}
	return nil
}

// serveResult answers with the result.
func (c *counter) serveResult(w http.ResponseWriter, r *http.Request) error {
	err := allow(r, http.MethodGet, http.MethodHead)
	if err != nil {
		return err
	}
	err = c.pace()
	if err != nil {
		return err
	}
	return c.writeResult(w, r)
}

// writeResult answers with the upstream's own answer, as often as it is asked for
// until its retention is over.
func (c *counter) writeResult(w http.ResponseWriter, r *http.Request) error {
	switch {
	case !c.State.Final():
		f := refuse(ProblemResultNotReady, "The transaction is not over.", nil)
		f.Transaction, f.State, f.Forwarded = c.ID, c.State, c.Forwarded()
		f.RetryAfter = pollAfter * time.Second
		return f
	case c.State != StateAnswered:
		return endOf(c.Transaction)
	}
	k, body, err := c.gate.cabinet.result(r.Context(), c.ID)
	if err == nil && k.TooLong {
		err = errNotKept
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, errNotKept) {
		f := refuse(ProblemResultNotKept, "The upstream has answered. Its answer was too long to be kept, or its time is over.", err)
		f.Transaction, f.State, f.Forwarded = c.ID, c.State, c.Forwarded()
		return f
	}
	if err != nil {
		return lookupRefusal(err)
	}
	play(w, r, k, body, nil)
	return nil
}

// readForm reads a form that a page of ours has posted, and makes sure of that.
func (c *counter) readForm(w http.ResponseWriter, r *http.Request) error {
	form, err := readSmallForm(w, r)
	if err != nil {
		return err
	}
	return c.checkForm(r, form)
}

// readSmallForm reads a form of a few fields. Its error is a *Refusal.
func readSmallForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(formTimeout))
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	if err != nil {
		return nil, bodyRefusal(err, maxForm)
	}
	return r.PostForm, nil
}

// checkForm refuses what no page of ours has posted: from another site, or
// without the secret of the page.
func (c *counter) checkForm(r *http.Request, form url.Values) error {
	err := checkSite(r)
	if err != nil {
		return err
	}
	secret, err := c.gate.vault.formSecret(r.Context(), c.ID)
	if err != nil {
		return lookupRefusal(err)
	}
	if !hmac.Equal([]byte(form.Get("form")), []byte(secret)) {
		return refuse(ProblemForm, "Nothing was done.", nil)
	}
	return nil
}

// checkSite refuses what a browser sends on behalf of another site.
func checkSite(r *http.Request) error {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return refuse(ProblemForm, "Nothing was done.", nil)
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || !strings.EqualFold(u.Host, r.Host) {
		return refuse(ProblemForm, "Nothing was done.", nil)
	}
	return nil
}
