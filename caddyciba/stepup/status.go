package stepup

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// pollAfter is how long a caller should wait before it looks again, in seconds.
const pollAfter = 5

// Status is what a caller sees of its transaction.
type Status struct {
	// ID is the public id of the transaction, as in problem documents and logs.
	ID string `json:"id"`

	// State is where the transaction is.
	State State `json:"state"`

	// Forwarded says whether the upstream has seen the request.
	Forwarded Forwarded `json:"forwarded"`

	// Problem is the type of the problem that has ended the transaction, and Status
	// the upstream's HTTP status if it has answered.
	Problem string `json:"problem,omitempty"`
	Status  int    `json:"status,omitempty"`

	// Message is what the customer is asked, and MatchCode the two digits that
	// customer and caller compare.
	Message   string `json:"message,omitempty"`
	MatchCode string `json:"match_code,omitempty"`

	// ExpiresAt is when the customer has to have decided.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`

	// Interval is after how many seconds to look again, while there is something to
	// come.
	Interval int `json:"interval,omitempty"`

	// StatusURL is where this is found. ResultURL has the upstream's answer, once
	// it is there. A DELETE of CancelURL ends the transaction as long as nothing
	// was sent.
	StatusURL string  `json:"status_url"`
	ResultURL *string `json:"result_url"`
	CancelURL *string `json:"cancel_url"`
}

// view is a transaction with what is kept of it, as it is now.
type view struct {
	*Transaction
	file *file // nil for a transaction that is not kept
	path string
}

// view reads a transaction for its caller.
func (g *Gate) view(ctx context.Context, t *Transaction) (*view, error) {
	path, err := g.vault.statusPath(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	v := &view{Transaction: t, path: path}
	if !t.Kept {
		return v, nil
	}
	v.file, err = g.cabinet.openFile(ctx, t.ID)
	if errors.Is(err, store.ErrNotFound) {
		return v, nil // its retention is over
	}
	return v, err
}

// cancellable reports whether the transaction can still be called off.
func (v *view) cancellable() bool {
	return v.State.CanBecome(StateCancelled)
}

// status makes the document.
func (v *view) status() Status {
	s := Status{ID: v.ID, State: v.State, Forwarded: v.Forwarded(), Status: v.Transaction.Status, StatusURL: v.path}
	if v.Problem != "" {
		s.Problem = typePrefix + string(v.Problem)
	}
	if v.file != nil {
		s.Message, s.MatchCode = v.file.Message, v.file.MatchCode
		if !v.State.Final() {
			until := v.file.Until.UTC().Truncate(time.Second)
			s.ExpiresAt = &until
		}
		if v.State == StateAnswered {
			url := v.path + "/result"
			s.ResultURL = &url
		}
	}
	if !v.State.Final() {
		s.Interval = pollAfter
	}
	if v.cancellable() {
		s.CancelURL = &v.path
	}
	return s
}

// writeStatus answers with the document.
func writeStatus(w http.ResponseWriter, r *http.Request, code int, s Status) {
	text, err := json.Marshal(s)
	if err != nil {
		WriteProblem(w, r, refuse(ProblemUnavailable, "", err))
		return
	}
	text = append(text, '\n')
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Add("Vary", "Accept")
	if s.Interval > 0 {
		h.Set("Retry-After", strconv.Itoa(s.Interval))
	}
	w.WriteHeader(code)
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(text)
}

// modeVary names what the choice of a mode depends on.
const modeVary = "Accept, Prefer, Sec-Fetch-Dest, Sec-Fetch-Mode"

// accepted answers 202: the caller will find the transaction where Location
// says.
func (h *hold) accepted(id string, p preference) error {
	t, err := h.gate.journal.Get(h.caller, id)
	if err != nil {
		return storeRefusal(err)
	}
	v, err := h.gate.view(h.caller, t)
	if err != nil {
		return storeRefusal(err)
	}
	header := h.w.Header()
	header.Set("Location", v.path)
	header.Add("Vary", modeVary)
	header.Set("Retry-After", strconv.Itoa(pollAfter))
	if p.async {
		applied := "respond-async"
		if p.waits {
			applied += ", wait=" + strconv.Itoa(int(p.wait/time.Second))
		}
		header.Set("Preference-Applied", applied)
	}
	writeStatus(h.w, h.r, http.StatusAccepted, v.status())
	return nil
}

// goWait sends a browser to its waiting page, with the cookie that opens it.
func (h *hold) goWait(id string) error {
	path, err := h.statusPath(id)
	if err != nil {
		return err
	}
	secret, err := h.gate.vault.cookieSecret(h.caller, id)
	if err != nil {
		return storeRefusal(err)
	}
	http.SetCookie(h.w, &http.Cookie{
		Name:     cookieName(id),
		Value:    secret,
		Path:     "/",
		MaxAge:   int((h.patience() + h.route.Retention) / time.Second),
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
	header := h.w.Header()
	header.Set("Location", path)
	header.Set("Cache-Control", "no-store")
	header.Add("Vary", modeVary)
	header.Set("Content-Length", "0")
	h.w.WriteHeader(http.StatusSeeOther)
	return nil
}
