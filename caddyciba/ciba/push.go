package ciba

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Pushed is an outcome that a provider has brought in push mode.
type Pushed struct {
	// Token is the notification token that came with it. It is as secret as the
	// tokens.
	Token string `json:"-"`

	// Body is the body of the notification as it came, with all secrets. Whoever
	// hands it to another process encrypts it; that process reads it by
	// Client.ReadPush.
	Body []byte `json:"-"`

	// Tokens are verified. Nil if Err is set.
	Tokens *Tokens

	// Err says how the request ended otherwise.
	Err error
}

// Format writes that this is an outcome, and no secret, for every verb.
func (p Pushed) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "pushed outcome")
}

// PushNotifications is what PushHandler needs besides Notifications.
type PushNotifications interface {
	Notifications

	// Push ends the request that was started with the notification token. Only the
	// first outcome of a request counts.
	Push(ctx context.Context, p Pushed) error
}

// outcome is how a request ended in push mode.
type outcome struct {
	tokens *Tokens
	err    error
}

// deliver hands an outcome to Wait. The first one counts.
func (p *Pending) deliver(o outcome) {
	select {
	case p.pushed <- o:
	default:
	}
}

// PushHandler returns the notification endpoint of a client in push mode (CIBA
// Core section 10.3). It answers as PingHandler does, but takes the tokens, or the
// error, from the body. The tokens are verified as if the token endpoint had
// sent them, and the ID Token must name the auth_req_id and the hash of each
// token. Tokens that do not verify end the request with that error and are
// answered by 400. While the provider's keys cannot be fetched the answer is 503,
// and nothing is decided.
func PushHandler(c *Client, n PushNotifications) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, ok := receiveNotification(w, r, n)
		if !ok {
			return
		}
		tokens, err := c.readPush(r.Context(), got.id, got.body)
		if Code(err) == CodeCanceled || IsTemporary(err) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		pushErr := n.Push(r.Context(), Pushed{Token: got.token, Body: got.raw, Tokens: tokens, Err: err})
		switch {
		case pushErr != nil:
			w.WriteHeader(http.StatusServiceUnavailable)
		case IsInvalidAnswer(err):
			w.WriteHeader(http.StatusBadRequest)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

// readPush reads the outcome that a push brings. A provider pushes an error under
// the codes access_denied, expired_token and transaction_failed (CIBA Core section
// 12).
func (c *Client) readPush(ctx context.Context, authReqID string, body object) (*Tokens, error) {
	const op = "push"
	if body.has("error") {
		code, description := errorMembers(body)
		if code == "" || body.has("access_token") || code == CodeAuthorizationPending || code == CodeSlowDown {
			return nil, invalidResponse(op, 0, "pushed error is malformed")
		}
		return nil, &Error{Op: op, Code: code, Description: description}
	}
	t, err := parseTokens(body, c.now())
	if err != nil {
		return nil, invalidResponse(op, 0, "reading push: %w", err)
	}
	err = c.verify(ctx, op, t, binding{authReqID: authReqID, pushed: true})
	if err == nil {
		err = c.constrain(op, t, nil)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// ReadPush reads the body of a notification in push mode that another process has
// taken for p, and checks the tokens as Wait does. Nothing that the other process
// has found out is relied on.
func (c *Client) ReadPush(ctx context.Context, p *Pending, body []byte, check Check) (*Tokens, error) {
	o, err := parseObject(body)
	if err != nil {
		return nil, invalidResponse("wait", 0, "reading push: %w", err)
	}
	tokens, err := c.readPush(ctx, p.AuthReqID, o)
	return c.judgePush(ctx, outcome{tokens: tokens, err: err}, check)
}

// receive waits for a push.
func (c *Client) receive(ctx context.Context, p *Pending, check Check) (*Tokens, error) {
	if p.pushed == nil {
		return nil, invalidArgument("wait", "request was not started in push mode by this process")
	}
	err := c.open(ctx, p, "wait")
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(p.ExpiresAt.Sub(c.now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, canceled(ctx, "wait")
	case <-timer.C:
		return nil, expired("wait")
	case o := <-p.pushed:
		return c.judgePush(ctx, o, check)
	}
}

// judgePush lets an outcome end the wait.
func (c *Client) judgePush(ctx context.Context, o outcome, check Check) (*Tokens, error) {
	if o.err != nil {
		return nil, inOp("wait", o.err)
	}
	err := c.checkTokens(o.tokens, check, "wait")
	if err != nil {
		c.discard(ctx, o.tokens)
		return nil, err
	}
	return o.tokens, nil
}
