package caddyciba

import (
	"context"
	"maps"
	"net/url"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// pushLook is how often a request in push mode looks into the store by itself, as
// the word of a node that has died does not arrive.
const pushLook = 30 * time.Second

// asking is a CIBA client as the engine uses it: with the parameters that the
// operator adds, and with notifications that may come in on any node.
type asking struct {
	*ciba.Client
	delivery   ciba.Delivery
	parameters url.Values
	inbox      *inbox
}

func newAsking(client *ciba.Client, s *clientSettings, box *inbox) *asking {
	return &asking{Client: client, delivery: s.delivery, parameters: s.parameters, inbox: box}
}

// Start implements stepup.Client. No customer decides a request of which no
// notification could be taken: it is withdrawn.
func (a *asking) Start(ctx context.Context, req ciba.Request) (*ciba.Pending, error) {
	if len(a.parameters) > 0 {
		extra := maps.Clone(a.parameters)
		maps.Copy(extra, req.Extra)
		req.Extra = extra
	}
	p, err := a.Client.Start(ctx, req)
	if err != nil || a.delivery == ciba.DeliveryPoll {
		return p, err
	}
	err = a.inbox.expect(ctx, p)
	if err != nil {
		_ = a.Cancel(ctx, p)
		return nil, &ciba.Error{Op: "start", Code: ciba.CodeUnavailable, Err: err}
	}
	return p, nil
}

// Wait implements stepup.Client. A ping on any node wakes the wait, and so does a
// push. Neither needs a goroutine.
func (a *asking) Wait(ctx context.Context, p *ciba.Pending, check ciba.Check, onPoll func(int, error)) (*ciba.Tokens, error) {
	if a.delivery == ciba.DeliveryPoll {
		return a.Client.Wait(ctx, p, check, onPoll)
	}
	token := ciba.HashNotification(p.NotificationToken)
	changes, stop := a.inbox.listen(a.delivery, p)
	defer stop()
	if a.delivery == ciba.DeliveryPush {
		return a.receive(ctx, p, check, changes)
	}
	_, n, err := a.inbox.read(ctx, token)
	if err == nil && !n.Pinged.IsZero() {
		// It came before the watch. A store that fails only makes the poll later.
		p.NextPoll = time.Now()
	}
	p.Wake = changes
	return a.Client.Wait(ctx, p, check, onPoll)
}

// receive waits for what a provider pushes.
func (a *asking) receive(ctx context.Context, p *ciba.Pending, check ciba.Check, changes <-chan struct{}) (*ciba.Tokens, error) {
	const op = "wait"
	for {
		_, n, err := a.inbox.read(ctx, ciba.HashNotification(p.NotificationToken))
		if err == nil && n.Pushed != nil {
			body, err := unseal(p.NotificationToken, n.Pushed)
			if err != nil {
				return nil, &ciba.Error{Op: op, Code: ciba.CodeInvalidResponse, Err: err}
			}
			return a.ReadPush(ctx, p, body, check)
		}
		rest := time.Until(p.ExpiresAt)
		if rest <= 0 {
			return nil, &ciba.Error{Op: op, Code: ciba.CodeExpiredToken}
		}
		timer := time.NewTimer(min(rest, pushLook))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, &ciba.Error{Op: op, Code: ciba.CodeCanceled, Err: ctx.Err()}
		case <-changes:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Interface guard
var _ stepup.Client = (*asking)(nil)
