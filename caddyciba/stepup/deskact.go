package stepup

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// serveCancel calls the transaction off, as long as nothing was sent. A program
// does it by DELETE, a page by a form.
func (c *counter) serveCancel(w http.ResponseWriter, r *http.Request) error {
	err := allow(r, http.MethodPost, http.MethodDelete)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost && (c.cookie || r.Header.Get("Sec-Fetch-Site") != "") {
		err = c.readForm(w, r)
	} else {
		err = checkSite(r)
	}
	if err != nil {
		return err
	}
	t, err := c.gate.Cancel(r.Context(), c.ID)
	if t == nil {
		return lookupRefusal(err)
	}
	c.Transaction = t
	if err != nil {
		f := refuse(ProblemTooLate, "It is over, or it is on its way to the upstream.", err)
		f.Transaction, f.State, f.Forwarded = t.ID, t.State, t.Forwarded()
		return f
	}
	if IsNavigation(r) {
		w.Header().Set("Location", c.path)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	writeStatus(w, r, http.StatusOK, c.status())
	return nil
}

// Cancel calls a transaction off of which nothing was sent. The error is about
// one that is over or on its way, which is returned with it, or about the store.
// Whoever waits for the transaction learns of it and withdraws what the customer is
// asked: a request that is kept on any node, and one that is held by this gate. One
// that another node holds learns of it when the customer has decided.
func (g *Gate) Cancel(ctx context.Context, id string) (*Transaction, error) {
	t, err := g.journal.Cancel(ctx, id)
	if err != nil {
		return t, err
	}
	// A kept request hears of it through the store.
	held, _ := g.serving.Load(id)
	visitor, ok := held.(*visit)
	if ok {
		visitor.end(errMoved)
	}
	g.noteCancelled(ctx, t)
	g.observe(Event{
		Type: EventCancelled, Time: g.now(), Route: t.Route, Transaction: t.clone(),
		Problem: ProblemCancelled, Held: g.now().Sub(t.Times[StateHeld]),
	})
	return t, nil
}

// serveContinueAt is serveContinue at the address of the request itself.
func (d *Desk) serveContinueAt(w http.ResponseWriter, r *http.Request) error {
	form, err := readSmallForm(w, r)
	if err != nil {
		return err
	}
	c, err := d.find(r, form.Get("transaction"))
	if err != nil {
		return err
	}
	if c.file == nil || r.URL.RequestURI() != c.continueAt() {
		return notFound()
	}
	return c.proceed(w, r, form)
}

// serveContinue sends an approved request for its browser, which gets the
// upstream's answer.
func (c *counter) serveContinue(w http.ResponseWriter, r *http.Request) error {
	err := allow(r, http.MethodPost)
	if err != nil {
		return err
	}
	form, err := readSmallForm(w, r)
	if err != nil {
		return err
	}
	return c.proceed(w, r, form)
}

func (c *counter) proceed(w http.ResponseWriter, r *http.Request, form url.Values) error {
	err := c.checkForm(r, form)
	if err != nil {
		return err
	}
	switch {
	case c.State == StateAnswered:
		// The page was reloaded, or the answer was lost on its way.
		r = r.Clone(r.Context())
		r.Method = http.MethodGet
		return c.writeResult(w, r)
	case c.Mode == ModeRedirect && c.State == StateApproved:
		return c.gate.sendFor(w, r, c.ID)
	case c.State.Final():
		return endOf(c.Transaction)
	default:
		w.Header().Set("Location", c.path)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
}

// sendFor sends an approved request and gives its answer to the browser that has
// come for it, also where another process waits for that browser.
func (g *Gate) sendFor(w http.ResponseWriter, r *http.Request, id string) error {
	found, _ := g.serving.Load(id)
	e, local := found.(*errand)
	if local {
		select {
		case given := <-e.ready:
			defer close(e.returned)
			return given.hold.sendTo(w, r, given.tokens)
		case <-e.done:
		case <-r.Context().Done():
			return refuse(ProblemCallerGone, "Nothing was sent.", r.Context().Err())
		}
	}
	current, err := g.journal.read(r.Context(), id)
	if err != nil {
		return lookupRefusal(err)
	}
	if current.State != StateApproved {
		return endOf(current.Transaction)
	}
	h, err := g.rebuild(r.Context(), current)
	if err != nil {
		return storeRefusal(err)
	}
	if h.kept.Tokens == nil {
		return storeRefusal(errUnfinishedStart)
	}
	leave, err := g.stay()
	if err != nil {
		return storeRefusal(err)
	}
	defer leave()
	h.waiting, h.visit = g.door.enter(context.WithoutCancel(r.Context()))
	g.serving.Store(id, h.visit)
	defer h.leave()
	return h.sendTo(w, r, h.kept.Tokens.tokens())
}

// sendTo sends the request and lets its answer go to w.
func (h *hold) sendTo(w http.ResponseWriter, r *http.Request, tokens *ciba.Tokens) error {
	defer func() {
		if v := recover(); v != nil {
			h.abandon()
			panic(v)
		}
	}()
	h.caller = r.Context()
	h.tape = newTape(w, h.kept.MaxResult)
	h.w = h.tape
	h.extendWriteDeadline(h.route.UpstreamTimeout)
	err := h.deliver(tokens)
	if err != nil {
		return h.conclude(asRefusal(err))
	}
	return nil
}

// keepAlive is how often a stream that has nothing to say says so.
const keepAlive = 10 * time.Second

// streamLife is how long a stream of events lasts. Browsers open the next one by
// themselves.
const streamLife = time.Minute

// serveEvents answers with a stream of the transaction's states (Server-Sent
// Events).
func (c *counter) serveEvents(w http.ResponseWriter, r *http.Request) error {
	err := allow(r, http.MethodGet)
	if err != nil {
		return err
	}
	if c.gate.streams.Add(1) > maxStreams {
		c.gate.streams.Add(-1)
		f := refuse(ProblemBusy, "Ask for the status instead.", nil)
		f.RetryAfter = busyRetryAfter
		return f
	}
	defer c.gate.streams.Add(-1)
	waiting, visit := c.gate.door.enter(r.Context())
	defer visit.leave()
	ctx, cancel := context.WithTimeout(waiting, streamLife)
	defer cancel()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	state := State("")
	for {
		step, end := context.WithTimeout(ctx, keepAlive)
		t, err := c.gate.journal.awaitChange(step, c.ID, func(t *Transaction) bool { return t.State != state })
		end()
		if t == nil || ctx.Err() != nil {
			return nil
		}
		text := ": waiting\n\n"
		if err == nil {
			state = t.State
			text = "event: state\ndata: " + string(state) + "\n\n"
		}
		_ = out.SetWriteDeadline(time.Now().Add(formTimeout))
		_, err = w.Write([]byte(text))
		if err == nil {
			err = out.Flush()
		}
		if err != nil || state.Final() {
			return nil
		}
	}
}
