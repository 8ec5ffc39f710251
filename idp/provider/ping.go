package provider

import (
	"context"
)

// ping is what a ping tells: that there is an outcome, and no more (CIBA Core 1.0
// section 10.2; CIBA checklist P1).
type ping struct {
	AuthReqID string `json:"auth_req_id"`
}

// deliverPing tries once to tell a client that its request has come to an end.
func (p *Provider) deliverPing(ctx context.Context, c *client, h *heldRequest) error {
	if h.State != StateExpired && h.stateAt(p.now()) == StateExpired {
		return p.settle(ctx, h) // nothing can be collected any more
	}
	secret, err := p.openCallback(h)
	if err != nil {
		return err
	}
	claimed, err := p.claim(ctx, h, h.State, nil)
	if err != nil || !claimed {
		return err
	}
	result, cause := p.call(ctx, c, h, secret.Token, ping{AuthReqID: secret.AuthReqID})
	p.noteCall(ctx, h, result, cause)
	if result == sentAgain {
		return nil
	}
	return p.settle(ctx, h)
}
