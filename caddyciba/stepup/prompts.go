package stepup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// PromptLimit bounds how often a customer is asked, or a caller makes customers
// be asked. It counts in the store, for all processes that share it and all gates
// whose routes have the same PromptScope.
type PromptLimit struct {
	// Per is whose prompts are counted.
	Per PromptParty

	// Count is how many there may be, from 1 to MaxPrompts.
	Count int

	// Window is the time in which they are counted, up to MaxPromptWindow. Zero
	// counts those that wait at one time.
	Window time.Duration
}

// PromptParty is one of the two sides of a prompt.
type PromptParty string

// The parties.
const (
	PerCustomer PromptParty = "customer"
	PerCaller   PromptParty = "caller"
)

// Bounds of a PromptLimit.
const (
	MaxPrompts      = 1000
	MaxPromptWindow = 24 * time.Hour
)

const (
	// promptKind is the kind of the records that count prompts.
	promptKind = "gateway.prompts"

	// backOffFirst is how long a caller waits after a customer's first denial,
	// backOffMost after many, and backOffMemory how long denials are remembered.
	backOffFirst  = time.Minute
	backOffMost   = time.Hour
	backOffMemory = 24 * time.Hour

	// waitingRetryAfter is when to try again where other prompts wait.
	waitingRetryAfter = 30 * time.Second

	// promptAttempts bounds how often a record is tried that others write.
	promptAttempts = 16
)

var errPromptsContended = errors.New("record of prompts is written by others all the time")

// Check finds mistakes in a limit.
func (l PromptLimit) Check() error {
	switch {
	case l.Per != PerCustomer && l.Per != PerCaller:
		return fmt.Errorf("a limit is per %s or per %s", PerCustomer, PerCaller)
	case l.Count < 1 || l.Count > MaxPrompts:
		return fmt.Errorf("a limit must be between 1 and %d", MaxPrompts)
	case l.Window < 0 || l.Window > MaxPromptWindow:
		return fmt.Errorf("the time of a limit must be positive and at most %s", MaxPromptWindow)
	}
	return nil
}

// asked is what is remembered of the prompts of a customer or a caller, or of a
// caller's to one customer.
type asked struct {
	// At are the times of prompts, oldest first, in milliseconds since 1970. They
	// are kept for Keep, the longest window of any limit.
	At   []int64       `json:"at,omitempty"`
	Keep time.Duration `json:"keep,omitempty"`

	// Waiting are the prompts that wait, by transaction, with the time after which
	// they do so no more whatever has become of their process.
	Waiting map[string]int64 `json:"waiting,omitempty"`

	// Denials are counted since the last approval. Until ends the time in which
	// nobody is asked because of them.
	Denials int   `json:"denials,omitempty"`
	Until   int64 `json:"until,omitempty"`
}

// prompt is a prompt that was counted. Of a kept request it is kept, too, so that
// whichever process sees the end of it counts it out.
type prompt struct {
	transaction string

	// Waiting names the records in which it waits, Pair the record of denials, if
	// there is one, and Denied says that there were denials before.
	Waiting []string `json:"waiting,omitempty"`
	Pair    string   `json:"pair,omitempty"`
	Denied  bool     `json:"denied,omitempty"`
}

// promptScope names what counts together.
func (rt *Route) promptScope() string { return cmp.Or(rt.PromptScope, rt.Name) }

// promptID names a record. Customers and callers are hashed.
func promptID(route string, parts ...string) string {
	h := sha256.New()
	form := canonicalWriter{w: h}
	form.text(route)
	form.count(len(parts))
	for _, part := range parts {
		form.text(part)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// countPrompt counts the prompt that is about to be made, unless a limit is
// reached. The caller's limits come first: a caller over its own must not use up
// what the customer bears. The error is a *Refusal.
func (h *hold) countPrompt(transaction string) error {
	h.prompt = &prompt{transaction: transaction}
	err := h.checkBackOff()
	if err != nil {
		return err
	}
	for _, party := range []struct {
		per  PromptParty
		name string
	}{{PerCaller, h.ask.Caller}, {PerCustomer, h.ask.Customer}} {
		limits := slices.DeleteFunc(slices.Clone(h.route.Prompts), func(l PromptLimit) bool { return l.Per != party.per })
		if len(limits) == 0 || party.name == "" {
			continue
		}
		id := promptID(h.route.promptScope(), string(party.per), party.name)
		err = h.changePrompts(id, func(a *asked, now time.Time) error {
			return a.count(transaction, limits, now, h.route.Hold+recoveryMargin)
		})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(limits, func(l PromptLimit) bool { return l.Window == 0 }) {
			h.prompt.Waiting = append(h.prompt.Waiting, id)
		}
	}
	return nil
}

// count adds a prompt, or says why there must be none.
func (a *asked) count(transaction string, limits []PromptLimit, now time.Time, lasts time.Duration) error {
	for _, l := range limits {
		a.Keep = max(a.Keep, l.Window)
	}
	a.forget(now)
	waits := false
	for _, l := range limits {
		if l.Window == 0 {
			waits = true
			if len(a.Waiting) >= l.Count {
				return tooManyPrompts(waitingRetryAfter)
			}
			continue
		}
		begin := now.Add(-l.Window).UnixMilli()
		first := slices.IndexFunc(a.At, func(at int64) bool { return at > begin })
		if first >= 0 && len(a.At)-first >= l.Count {
			// The one that must be out of the window before there is room.
			oldest := a.At[len(a.At)-l.Count]
			return tooManyPrompts(time.UnixMilli(oldest).Add(l.Window).Sub(now))
		}
	}
	if a.Keep > 0 {
		a.At = append(a.At, now.UnixMilli())
	}
	if waits {
		if a.Waiting == nil {
			a.Waiting = make(map[string]int64)
		}
		a.Waiting[transaction] = now.Add(lasts).UnixMilli()
	}
	return nil
}

// forget drops what no limit asks for any more.
func (a *asked) forget(now time.Time) {
	begin := now.Add(-a.Keep).UnixMilli()
	a.At = slices.DeleteFunc(a.At, func(at int64) bool { return at <= begin })
	if len(a.At) > MaxPrompts {
		a.At = a.At[len(a.At)-MaxPrompts:]
	}
	for id, until := range a.Waiting {
		if until <= now.UnixMilli() {
			delete(a.Waiting, id)
		}
	}
}

// expires is when nothing of the record counts any more.
func (a *asked) expires(now time.Time) time.Time {
	latest := now.Add(time.Minute)
	if len(a.At) > 0 {
		latest = later(latest, time.UnixMilli(a.At[len(a.At)-1]).Add(a.Keep))
	}
	for _, until := range a.Waiting {
		latest = later(latest, time.UnixMilli(until))
	}
	if a.Denials > 0 {
		latest = later(latest, now.Add(backOffMemory))
	}
	return latest
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func tooManyPrompts(wait time.Duration) *Refusal {
	f := refuse(ProblemTooManyPrompts, "Nothing was sent and nobody was asked. Try again later.", nil)
	f.RetryAfter = max(wait, time.Second)
	return f
}

// checkBackOff refuses a caller whom the customer has denied a moment ago.
func (h *hold) checkBackOff() error {
	if !h.route.BackOff {
		return nil
	}
	h.prompt.Pair = promptID(h.route.promptScope(), "pair", h.ask.Caller, h.ask.Customer)
	ctx, cancel := storeContext(h.caller)
	defer cancel()
	a, _, err := h.gate.journal.readPrompts(ctx, h.prompt.Pair)
	if err != nil {
		return storeRefusal(err)
	}
	h.prompt.Denied = a.Denials > 0
	wait := time.UnixMilli(a.Until).Sub(h.gate.now())
	if a.Denials > 0 && wait > 0 {
		return tooManyPrompts(wait)
	}
	return nil
}

// settlePrompt counts the prompt out, and remembers a denial. If the store does
// not take it, the prompt counts as waiting until it is over by itself.
func (h *hold) settlePrompt() {
	if h.prompt == nil {
		return
	}
	ctx, cancel := h.afterwards()
	defer cancel()
	state := StateFailed
	if h.entry != nil {
		state = h.entry.State
	}
	err := h.gate.journal.settlePrompt(ctx, h.prompt, state)
	if err != nil {
		h.gate.log.Warn("prompt was not counted out", zap.Error(err))
	}
}

// settlePrompt counts out the prompt of a transaction that is in the given state.
func (j *Journal) settlePrompt(ctx context.Context, p *prompt, state State) error {
	errs := make([]error, 0, 2)
	for _, id := range p.Waiting {
		errs = append(errs, j.changePrompts(ctx, id, func(a *asked, now time.Time) error {
			delete(a.Waiting, p.transaction)
			a.forget(now)
			return nil
		}))
	}
	switch {
	case p.Pair == "":
	case state == StateDenied:
		errs = append(errs, j.changePrompts(ctx, p.Pair, func(a *asked, now time.Time) error {
			wait := backOffMost
			if a.Denials < 6 {
				wait = min(wait, backOffFirst<<a.Denials)
			}
			a.Denials++
			a.Until = now.Add(wait).UnixMilli()
			return nil
		}))
	case p.Denied && (state == StateAnswered || state == StateInDoubt):
		// The customer has approved since.
		errs = append(errs, j.changePrompts(ctx, p.Pair, func(a *asked, _ time.Time) error {
			*a = asked{}
			return nil
		}))
	}
	return errors.Join(errs...)
}

// changePrompts is Journal.changePrompts for a request that waits.
func (h *hold) changePrompts(id string, change func(*asked, time.Time) error) error {
	err := h.gate.journal.changePrompts(h.caller, id, change)
	var f *Refusal
	if err != nil && !errors.As(err, &f) {
		return storeRefusal(err)
	}
	return err
}

// changePrompts changes a record by one conditional write, or not at all if the
// change is an error. Requests of one process take turns, so that only those of
// others make it try again.
func (j *Journal) changePrompts(ctx context.Context, id string, change func(*asked, time.Time) error) error {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	turn := &j.turns[id[0]%byte(len(j.turns))]
	turn.Lock()
	defer turn.Unlock()
	for range promptAttempts {
		a, version, err := j.readPrompts(ctx, id)
		if err != nil {
			return err
		}
		now := j.cfg.Now()
		err = change(a, now)
		if err != nil {
			return err
		}
		data, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("encoding record of prompts: %w", err)
		}
		r := &store.Record{Kind: promptKind, ID: id, Version: version, Data: data, Expires: a.expires(now)}
		if version == 0 {
			err = j.cfg.Store.Create(ctx, r)
		} else {
			err = j.cfg.Store.Update(ctx, r)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("writing record of prompts: %w", err)
		}
	}
	return errPromptsContended
}

// readPrompts returns a record and its version, which is 0 if there is none.
func (j *Journal) readPrompts(ctx context.Context, id string) (*asked, uint64, error) {
	r, err := j.cfg.Store.Get(ctx, promptKind, id)
	if errors.Is(err, store.ErrNotFound) {
		return &asked{}, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading record of prompts: %w", err)
	}
	a := &asked{}
	err = json.Unmarshal(r.Data, a)
	if err != nil {
		return nil, 0, fmt.Errorf("decoding record of prompts: %w", err)
	}
	return a, r.Version, nil
}
