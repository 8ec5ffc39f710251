package stepup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// errUnfinishedStart says that a process died while it was asking: nobody knows
// by which name the provider knows the question.
var errUnfinishedStart = errors.New("process ended while the customer was being asked")

// TakeUp goes on with kept transactions that other processes have left, as far
// as they are this gate's; see Recovered.Orphans. Each one is taken up by one
// conditional write, so that of several processes one gets it. It goes on after
// one that cannot be taken up, and returns the errors joined.
func (g *Gate) TakeUp(ctx context.Context, ids []string) error {
	var failures []error
	for _, id := range ids {
		err := g.takeUp(ctx, id)
		if err != nil {
			failures = append(failures, fmt.Errorf("taking up %s: %w", id, err))
		}
	}
	return errors.Join(failures...)
}

func (g *Gate) takeUp(ctx context.Context, id string) error {
	e, err := g.journal.read(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil // it has ended, and its time to be kept is over
	}
	if err != nil {
		return err
	}
	if !e.Kept || e.Gate != g.name || e.State != StateRequested && e.State != StateApproved {
		return nil
	}
	h, err := g.rebuild(ctx, e)
	if err != nil {
		if g.journal.moved(ctx, e) {
			return nil // somebody else was faster, and has cleared up already
		}
		return err
	}
	leave, err := g.stay()
	if err != nil {
		return err
	}
	errand := newErrand(h, leave)
	_, served := g.serving.LoadOrStore(id, errand)
	if served {
		leave()
		return nil
	}
	err = g.journal.takeOver(ctx, e)
	if err != nil {
		g.serving.Delete(id)
		leave()
		if errors.Is(err, errMoved) {
			return nil // somebody else was faster
		}
		return err
	}
	h.caller = context.WithoutCancel(ctx)
	h.waiting, h.visit = g.door.enter(h.caller)
	h.onAsked = nil
	err = h.watch()
	if err != nil {
		h.leave()
		leave()
		return err
	}
	g.log.Info("a request that another process has left goes on", zap.String("transaction", id), zap.String("state", string(e.State)))
	go errand.run(h.resume)
	return nil
}

// moved says whether somebody else has moved the transaction on since e was read.
// If the store cannot tell, nobody has.
func (j *Journal) moved(ctx context.Context, e *entry) bool {
	now, err := j.read(ctx, e.ID)
	if err != nil {
		return errors.Is(err, store.ErrNotFound)
	}
	return now.version != e.version
}

// rebuild makes the hold of a kept request from the store. It has no handler to
// go to and no connection.
func (g *Gate) rebuild(ctx context.Context, e *entry) (*hold, error) {
	f, err := g.cabinet.openFile(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	snapshot, err := f.request(ctx)
	if err != nil {
		return nil, err
	}
	h := &hold{
		gate:     g,
		route:    f.route(),
		caller:   ctx,
		arrived:  f.Arrived,
		snapshot: snapshot,
		ask:      f.Ask,
		digest:   f.Digest,
		details:  details{kind: f.DetailsType, digest: f.Digest.String()},
		mode:     f.Mode,
		kept:     f,
		prompt:   f.Prompt,
		tape:     newTape(nil, f.MaxResult),
		id:       e.ID,
		entry:    e,
	}
	h.w = h.tape
	if f.Pending != nil {
		f.Pending.Wake = make(chan struct{}, 1)
	}
	return h, nil
}

// route has the settings that count until the request is sent.
func (f *file) route() *Route {
	rt := &Route{
		Name:             f.Route,
		Mode:             f.Mode,
		ACR:              f.ACR,
		FreshAuth:        f.FreshAuth,
		AuthAge:          f.AuthAge,
		AuthTimeOptional: f.AuthOptional,
		UpstreamTimeout:  f.UpstreamTimeout,
		Retention:        f.Retention,
		MaxResult:        f.MaxResult,
		DigestHeaders:    f.DigestHeaders,
	}
	return rt.withDefaults()
}

// resume is the way of a transaction from where another process has left it.
func (h *hold) resume() error {
	if h.kept.Tokens != nil {
		tokens := h.kept.Tokens.tokens()
		h.asked, h.claims = h.kept.Pending, &tokens.Claims
		if h.entry.State == StateRequested {
			err := h.move(StateApproved, EventApproved, nil)
			if err != nil {
				h.revoke(tokens)
				return err
			}
		}
		return h.dispatch(tokens)
	}
	if h.kept.Pending == nil || h.entry.State != StateRequested {
		return refuse(ProblemUnavailable, "Nothing was sent. The gateway was restarted; try again.", errUnfinishedStart)
	}
	tokens, err := h.await(h.kept.Until, h.kept.Pending, h.kept.DetailsType != "")
	if err != nil {
		return err
	}
	return h.dispatch(tokens)
}

// takeOver makes the transaction this process's, where it is.
func (j *Journal) takeOver(ctx context.Context, e *entry) error {
	taken := e.clone()
	taken.Instance = j.cfg.Instance
	r, err := j.record(taken, e.version)
	if err != nil {
		return err
	}
	ctx, cancel := storeContext(ctx)
	defer cancel()
	err = j.cfg.Store.Update(ctx, r)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("taking over transaction: %w", err)
	}
	e.Transaction, e.version = taken, r.Version
	return nil
}

const (
	// nodeKind is the kind of the records by which processes that share a store say
	// that they live.
	nodeKind = "gateway.node"

	// BeatInterval is how often Beat has to be called.
	BeatInterval = 5 * time.Second

	// beatLife is how long a process counts as alive after its last word: three are
	// allowed to get lost. One that lives and is taken for dead does no harm, as a
	// request is sent after one conditional write.
	beatLife = 20 * time.Second
)

// Beat says that this process lives, so that others that share the store leave
// its kept transactions to it. A process that has a store of its own need not.
func (j *Journal) Beat(ctx context.Context) error {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	id := j.cfg.Instance
	for range onceAttempts {
		r := &store.Record{Kind: nodeKind, ID: id, Expires: j.cfg.Now().Add(beatLife)}
		current, err := j.cfg.Store.Get(ctx, nodeKind, id)
		switch {
		case err == nil:
			r.Version = current.Version
			err = j.cfg.Store.Update(ctx, r)
		case errors.Is(err, store.ErrNotFound):
			err = j.cfg.Store.Create(ctx, r)
		}
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExists) {
			continue // another gate of this process was faster, or too slow
		}
		if err != nil {
			return fmt.Errorf("saying that this process lives: %w", err)
		}
		return nil
	}
	return nil
}

// Leave says that this process will not go on with what it has left, so that
// others need not wait for it to fall silent.
func (j *Journal) Leave(ctx context.Context) error {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	err := j.cfg.Store.Delete(ctx, nodeKind, j.cfg.Instance, 0)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("saying that this process ends: %w", err)
	}
	return nil
}

// lives reports whether another process has said lately that it lives.
func (j *Journal) lives(ctx context.Context, instance string) (bool, error) {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	_, err := j.cfg.Store.Get(ctx, nodeKind, instance)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for process: %w", err)
	}
	return true, nil
}
