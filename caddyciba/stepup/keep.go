package stepup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// continueTime is how long an approved request waits for its browser to come for
// the answer. Without it, nothing is sent.
const continueTime = 2 * time.Minute

// credentialOf returns the hash of what a caller shows as its credential, or nil.
func credentialOf(r *http.Request) []byte {
	values := r.Header.Values("Authorization")
	if len(values) != 1 || values[0] == "" {
		return nil
	}
	sum := sha256.Sum256([]byte("caddyciba credential v1\x00" + values[0]))
	return sum[:]
}

// ownCredentials are the headers by which a caller may say to the upstream who it is.
func ownCredentials(header http.Header) http.Header {
	own := make(http.Header, 2)
	for _, name := range []string{defaultTokenHeader, proofHeader} {
		if len(header[name]) > 0 {
			own[name] = header[name]
		}
	}
	return own
}

// keep writes the request down before there is a transaction, if it shall go on
// without its caller's connection: in the modes redirect and async, and for
// callers that can come back for the answer by an Idempotency-Key.
func (h *hold) keep(id string) error {
	if !h.mode.detached() && h.key == "" {
		return nil
	}
	if h.snapshot.Size() > maxKeptBody {
		return tooLarge(maxKeptBody)
	}
	f := &file{cabinet: h.gate.cabinet, id: id, keptCase: keptCase{
		Mode:            h.mode,
		Ask:             h.ask,
		Message:         h.request.BindingMessage,
		Digest:          h.digest,
		Route:           h.route.Name,
		ACR:             h.route.ACR,
		FreshAuth:       h.route.FreshAuth,
		AuthAge:         h.route.AuthAge,
		AuthOptional:    h.route.AuthTimeOptional,
		UpstreamTimeout: h.route.UpstreamTimeout,
		Retention:       h.route.Retention,
		MaxResult:       h.route.MaxResult,
		DigestHeaders:   h.route.DigestHeaders,
		Address:         h.address(),
		Arrived:         h.arrived.UTC(),
		Until:           h.gate.now().Add(h.route.Hold).UTC(),
		Credential:      h.credential,
		CookieOnly:      h.mode == ModeRedirect && h.ask.Anonymous,
		Prompt:          h.prompt,
	}}
	var err error
	if h.route.MatchCode && h.mode.detached() {
		f.MatchCode, err = newMatchCode(h.gate.journal.cfg.Rand)
		if err != nil {
			return storeRefusal(err)
		}
	}
	if h.route.Origin != nil {
		f.Origin, err = h.route.Origin()
		if err != nil {
			return refuse(ProblemMisconfigured, "Nothing was sent.", err)
		}
	}
	err = f.saveRequest(h.caller, h.snapshot)
	if err == nil {
		err = f.save(h.caller)
	}
	if err != nil {
		return storeRefusal(err)
	}
	h.kept = f
	h.outlive()
	return nil
}

// address is the path and query by which the caller knows its request, which may
// have been rewritten since.
func (h *hold) address() string {
	if h.route.Address == nil {
		return h.snapshot.Target()
	}
	return h.route.Address(h.r)
}

// outlive makes the wait independent of the caller's connection.
func (h *hold) outlive() {
	h.visit.leave()
	h.waiting, h.visit = h.gate.door.enter(context.WithoutCancel(h.caller))
	if h.mode.detached() {
		return
	}
	h.tape = newTape(h.w, h.kept.MaxResult)
	h.w = h.tape
}

// newMatchCode returns two random decimal digits.
func newMatchCode(random io.Reader) (string, error) {
	var b [1]byte
	for {
		_, err := io.ReadFull(random, b[:])
		if err != nil {
			return "", fmt.Errorf("reading random bytes: %w", err)
		}
		if b[0] < 200 { // 256 is no multiple of 100
			return fmt.Sprintf("%02d", b[0]%100), nil
		}
	}
}

// offerMatchCode brings the match code to the customer: as a parameter of its
// own where the provider takes it, which then asks for it, otherwise at the
// beginning of the message, to be compared.
func (h *hold) offerMatchCode(metadata *ciba.Metadata) error {
	if h.kept == nil || h.kept.MatchCode == "" {
		return nil
	}
	if metadata.MatchCodeSupported {
		extra := make(map[string][]string, len(h.request.Extra)+1)
		for name, values := range h.request.Extra {
			extra[name] = values
		}
		extra["match_code"] = []string{h.kept.MatchCode}
		h.request.Extra = extra
		return nil
	}
	message, err := bindingMessage(h.kept.MatchCode+h.route.MessageJoiner+h.ask.Message, h.digest, h.route.MessageLimit, h.route.MessageJoiner)
	if err != nil {
		return err
	}
	h.request.BindingMessage = message
	return nil
}

// rememberPending writes down what another process needs to wait on.
func (h *hold) rememberPending(p *ciba.Pending, expectDetails bool) error {
	if h.kept == nil {
		return nil
	}
	h.kept.Pending = p
	if expectDetails {
		h.kept.DetailsType = h.details.kind
	}
	err := h.kept.save(h.caller)
	if err != nil {
		return storeRefusal(err)
	}
	return nil
}

// rememberTokens writes down what another process needs to send the request. The
// provider gives them out once.
func (h *hold) rememberTokens(t *ciba.Tokens) error {
	if h.kept == nil {
		return nil
	}
	h.kept.Tokens = keepTokens(t)
	err := h.kept.save(h.caller)
	if err != nil {
		return storeRefusal(err)
	}
	return nil
}

// keepResult writes down the upstream's answer. If that fails, the answer is
// lost for who comes back for it, and the transaction is answered all the same.
func (h *hold) keepResult() {
	if h.kept == nil || h.tape == nil {
		return
	}
	head, body := h.tape.result()
	err := h.kept.saveResult(h.caller, head, body)
	if err != nil {
		h.gate.log.Error("upstream's answer was not kept", zap.String("transaction", h.entry.ID), zap.Error(err))
	}
}

// closeFile removes what nobody needs after the end.
func (h *hold) closeFile() {
	if h.kept == nil || !h.entry.State.Final() {
		return
	}
	err := h.kept.close(h.caller)
	if err != nil {
		h.gate.log.Warn("kept request was not removed", zap.String("transaction", h.entry.ID), zap.Error(err))
	}
}

// closeFile does the same for a transaction that nobody has at hand.
func (g *Gate) closeFile(ctx context.Context, id string) {
	f, err := g.cabinet.openFile(ctx, id)
	if err == nil && f.Prompt != nil {
		err = g.journal.settlePrompt(ctx, f.Prompt, StateFailed)
	}
	if err == nil {
		err = f.close(ctx)
	}
	if err != nil {
		g.log.Warn("kept request was not removed", zap.String("transaction", id), zap.Error(err))
	}
}

// parked reports whether a refusal leaves a kept transaction to another process:
// this one is ending, or another one has taken it up.
func (h *hold) parked(f *Refusal) bool {
	if h.kept == nil {
		return false
	}
	if h.entry.Instance != h.gate.journal.cfg.Instance {
		return true
	}
	return errors.Is(f.Err, ErrDrained) && h.kept.Pending != nil
}

// watch ends the wait of a kept transaction when somebody else moves it on: its
// caller by the status page, an operator, or another process.
func (h *hold) watch() error {
	if h.kept == nil {
		return nil
	}
	changes, stop := h.gate.cabinet.store.Watch(recordKind, h.entry.ID)
	id, end, waiting, journal := h.entry.ID, h.visit.end, h.waiting, h.gate.journal
	go func() {
		defer stop()
		again := time.NewTicker(watchAgain)
		defer again.Stop()
		for {
			select {
			case <-waiting.Done():
				return
			case <-changes:
			case <-again.C:
			}
			e, err := journal.read(waiting, id)
			if err == nil && (e.State.Final() || e.Instance != journal.cfg.Instance) {
				end(errMoved)
				return
			}
		}
	}()
	return nil
}

// watchAgain is how often a transaction is looked at without word of a change.
const watchAgain = 20 * time.Second
