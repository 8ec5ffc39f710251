package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// kindGuard keeps what a user thinks of a client.
	kindGuard = "idp.guard"

	// indexBlocked finds the clients that a user has blocked.
	indexBlocked = "blocked"

	blocksBatch = 100
)

// CoolDown is for how long a client must leave a user alone who has denied it.
// Meanwhile its requests for the user are answered with status 429 and Retry-After.
type CoolDown struct {
	// First is the time after one denial; it is doubled with each further one.
	// Default: 60s. Negative: there is none.
	First time.Duration

	// Longest bounds the doubling. When as much time has passed behind a
	// cool-down, earlier denials are forgotten. Default: 1h.
	Longest time.Duration
}

func (c CoolDown) withDefaults(test bool) CoolDown {
	if test {
		setDuration(&c.First, -1)
	}
	setDuration(&c.First, time.Minute)
	setDuration(&c.Longest, time.Hour)
	return c
}

func (c CoolDown) validate() error {
	if c.First > 0 && c.Longest < c.First || c.Longest > 24*time.Hour {
		return errors.New("the longest cool-down must not be less than the first, or more than 24h")
	}
	return nil
}

// after returns the cool-down after so many denials.
func (c CoolDown) after(denials int) time.Duration {
	wait := c.First
	for range denials - 1 {
		if wait >= c.Longest {
			break
		}
		wait *= 2
	}
	return min(wait, c.Longest)
}

// guardRecord is what a user thinks of a client. Times are Unix milliseconds.
type guardRecord struct {
	Subject string `json:"sub"`
	Client  string `json:"client"`
	Denials int    `json:"denials,omitempty"`
	Until   int64  `json:"until,omitempty"`
	Blocked int64  `json:"blocked,omitempty"`
}

// guardID names the record. Neither a subject nor a client id has a tab in it.
func guardID(subject, client string) string { return subject + "\t" + client }

func blockedIndex(subject string) store.Index {
	return store.Index{Name: indexBlocked, Value: subject}
}

// Block is a client that a user has blocked.
type Block struct {
	// Client is who is blocked.
	Client ClientInfo

	// Since is when the user has blocked it.
	Since time.Time
}

// reasonReported is why tokens are revoked of which the user says that they were
// none of their doing.
const reasonReported = "reported by the user"

// errBlocked is the answer to a client that the user has blocked: a refusal before
// the user is asked (CIBA Core 1.0 section 13).
var errBlocked = &oauthError{
	status:      http.StatusForbidden,
	code:        codeAccessDenied,
	description: "The user does not want to be asked by the client.",
}

// checkGuard refuses a request that its user has told the client not to make.
func (p *Provider) checkGuard(ctx context.Context, subject, client string) error {
	_, g, err := p.loadGuard(ctx, subject, client)
	if err != nil {
		return unavailable(err)
	}
	if g.Blocked != 0 {
		return errBlocked
	}
	wait := time.UnixMilli(g.Until).Sub(p.now())
	if wait > 0 {
		return tooMany("The user has denied the client a short while ago.", wait)
	}
	return nil
}

// loadGuard returns the record about a client, empty and of version 0 if there is
// none.
func (p *Provider) loadGuard(ctx context.Context, subject, client string) (*store.Record, *guardRecord, error) {
	stored, err := p.cfg.Store.Get(ctx, kindGuard, guardID(subject, client))
	if errors.Is(err, store.ErrNotFound) {
		return &store.Record{Kind: kindGuard, ID: guardID(subject, client)}, &guardRecord{Subject: subject, Client: client}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading guard: %w", err)
	}
	var g guardRecord
	err = json.Unmarshal(stored.Data, &g)
	if err != nil {
		return nil, nil, fmt.Errorf("decoding guard: %w", err)
	}
	return stored, &g, nil
}

// changeGuard changes the record about a client by one conditional write.
func (p *Provider) changeGuard(ctx context.Context, subject, client string, change func(*guardRecord)) error {
	for {
		stored, g, err := p.loadGuard(ctx, subject, client)
		if err != nil {
			return err
		}
		change(g)
		stored.Data, err = json.Marshal(g)
		if err != nil {
			return fmt.Errorf("encoding guard: %w", err)
		}
		stored.Indexes, stored.Expires = nil, time.UnixMilli(g.Until).Add(p.cfg.CoolDown.Longest)
		if g.Blocked != 0 {
			stored.Indexes, stored.Expires = []store.Index{blockedIndex(subject)}, time.Time{}
		}
		if stored.Version == 0 {
			err = p.cfg.Store.Create(ctx, stored)
		} else {
			err = p.cfg.Store.Update(ctx, stored)
		}
		if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			continue // somebody else has changed it; what we add is added to that
		}
		if err != nil {
			return fmt.Errorf("writing guard: %w", err)
		}
		return nil
	}
}

// noteDenial begins the cool-down after a denial. The denial stands without it.
func (p *Provider) noteDenial(ctx context.Context, h *heldRequest) {
	if p.cfg.CoolDown.First <= 0 {
		return
	}
	err := p.changeGuard(ctx, h.Subject, h.Client, func(g *guardRecord) {
		now := p.now()
		if now.After(time.UnixMilli(g.Until).Add(p.cfg.CoolDown.Longest)) {
			g.Denials = 0
		}
		g.Denials++
		g.Until = now.Add(p.cfg.CoolDown.after(g.Denials)).UnixMilli()
	})
	if err != nil {
		p.log.Error("a denial stands, but its client is not kept away", zap.String("request", h.id), zap.Error(err))
	}
}

// Report says that a request is not the user's own doing. A pending request is
// denied; what has come of one that was approved before is taken back; one that is
// over is marked. The client can't ask this user again until Unblock. Report returns ErrNotFound if there is no
// such request for the subject. It may be called again after an error.
func (p *Provider) Report(ctx context.Context, subject, id string) error {
	err := p.deny(ctx, subject, id, true)
	if err != nil && !errors.Is(err, ErrDecided) && !errors.Is(err, ErrExpired) {
		return err
	}
	h, err := p.ownRequest(ctx, subject, id)
	if err != nil {
		return err
	}
	err = p.takeBack(ctx, h.id, h.Client, reasonReported)
	if err != nil {
		return err
	}
	err = p.markReported(ctx, h.id)
	if err != nil {
		return err
	}
	err = p.changeGuard(ctx, subject, h.Client, func(g *guardRecord) {
		if g.Blocked == 0 {
			g.Blocked = p.now().UnixMilli()
		}
	})
	if err != nil {
		return err
	}
	p.log.Warn("request reported by its user, client blocked for the user",
		zap.String("request", h.id), zap.String("client", h.Client), zap.String("subject", h.Subject))
	p.raise(ctx, EventReported, h)
	p.raise(ctx, EventBlocked, h)
	return p.denyAll(ctx, subject, h.Client)
}

// markReported notes the report in a request that was over already.
func (p *Provider) markReported(ctx context.Context, id string) error {
	for {
		h, err := p.loadRequest(ctx, id)
		if errors.Is(err, ErrNotFound) || err == nil && h.Reported {
			return nil
		}
		if err != nil {
			return err
		}
		err = p.move(ctx, h, h.State, func(r *requestRecord) { r.Reported = true })
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			continue
		}
		return err
	}
}

// denyAll denies what else a client is asking the user.
func (p *Provider) denyAll(ctx context.Context, subject, client string) error {
	held, err := p.pending(ctx, subject, maxPendingListed)
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range held {
		if h.Client != client {
			continue
		}
		err = p.deny(ctx, subject, h.id, false)
		if err != nil && !errors.Is(err, ErrDecided) && !errors.Is(err, ErrExpired) && !errors.Is(err, ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ListBlocks returns the clients that a subject has blocked, in the order of their
// ids.
func (p *Provider) ListBlocks(ctx context.Context, subject string) ([]Block, error) {
	if !isSubject(subject) {
		return nil, nil
	}
	var blocks []Block
	after := ""
	for {
		stored, err := p.cfg.Store.List(ctx, kindGuard, blockedIndex(subject), after, blocksBatch)
		if err != nil {
			return nil, fmt.Errorf("listing blocks: %w", err)
		}
		for _, record := range stored {
			after = record.ID
			var g guardRecord
			err = json.Unmarshal(record.Data, &g)
			if err != nil {
				return nil, fmt.Errorf("decoding guard: %w", err)
			}
			blocks = append(blocks, Block{Client: p.clientInfo(g.Client), Since: time.UnixMilli(g.Blocked)})
		}
		if len(stored) < blocksBatch {
			return blocks, nil
		}
	}
}

// Unblock lets a client ask the subject again, and forgets its denials. It returns
// ErrNotFound if the client is not blocked.
func (p *Provider) Unblock(ctx context.Context, subject, clientID string) error {
	stored, g, err := p.loadGuard(ctx, subject, clientID)
	if err != nil {
		return err
	}
	if g.Blocked == 0 {
		return ErrNotFound
	}
	err = p.cfg.Store.Delete(ctx, kindGuard, stored.ID, 0)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("deleting guard: %w", err)
	}
	p.log.Info("client unblocked", zap.String("client", clientID), zap.String("subject", subject))
	p.raiseAbout(ctx, EventUnblocked, clientID, subject, "")
	return nil
}
