package provider

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	kindRequest = "idp.request"

	// indexPending finds the undecided requests of a subject.
	indexPending = "pending"

	// tombstone is how long a request is kept after its expiry, so that a late
	// poll hears expired_token and not invalid_grant (CIBA checklist T6).
	tombstone = 10 * time.Minute

	// authReqIDBytes is the size of an auth_req_id before encoding.
	authReqIDBytes = 32
)

// State is the state of an authentication request.
type State string

// States of an authentication request. A request that was redeemed was approved
// before; all other states but StatePending and StateApproved are final.
const (
	StatePending   State = "pending"
	StateApproved  State = "approved"
	StateDenied    State = "denied"
	StateExpired   State = "expired"
	StateCancelled State = "cancelled"
	StateRedeemed  State = "redeemed"
)

// edges are the legal changes of state.
var edges = map[State][]State{
	StatePending:  {StateApproved, StateDenied, StateExpired, StateCancelled, StatePending},
	StateApproved: {StateRedeemed, StateExpired, StateCancelled, StateApproved},

	// What follows changes nothing but notes: its client is called, its refresh
	// token changes, its tokens are revoked.
	StateDenied:    {StateDenied},
	StateExpired:   {StateExpired},
	StateCancelled: {StateCancelled},
	StateRedeemed:  {StateRedeemed},
}

// requestRecord is an authentication request as it lies in the store, see
// record_codec.go. Times are Unix milliseconds.
type requestRecord struct {
	State          State
	Client         string
	Subject        string
	Scope          []string
	Bound          *confirmation // shown at the start
	Resources      []string
	BindingMessage string
	ACRValues      []string
	Details        json.RawMessage
	MatchCode      string
	Place          string
	Created        int64
	Expires        int64
	Interval       int64 // seconds
	Window         int64 // see indexPrompted

	Decided      int64
	Granted      []string
	AuthTime     int64 // seconds
	AMR          []string
	ACR          string
	Redeemed     int64
	Reported     bool // by its user, as none of theirs
	WrongMatches int
	Revoked      int64

	Callback  *callbackState
	Refresh   *refreshState
	KeepUntil int64 // for as long as tokens are good

	HistoryUntil int64  // since it is over, see history.go
	ClientName   string // as it was shown then
}

// heldRequest is a request as it was read from the store, with what is needed to
// write it back.
type heldRequest struct {
	requestRecord
	id      string // record id and public id
	version uint64
}

// newAuthReqID returns a fresh auth_req_id (CIBA Core 1.0 section 7.3).
func (p *Provider) newAuthReqID() (string, error) {
	return randomToken(p.cfg.Rand, authReqIDBytes)
}

func randomToken(rand io.Reader, size int) (string, error) {
	raw := make([]byte, size)
	_, err := io.ReadFull(rand, raw)
	if err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// requestID returns the id of the record of an auth_req_id: its hash. It is also
// the public id of the request, since it leads nobody back to the auth_req_id.
func requestID(authReqID string) string {
	sum := sha256.Sum256([]byte(authReqID))
	var text [(sha256.Size*8 + 5) / 6]byte
	base64.RawURLEncoding.Encode(text[:], sum[:])
	return string(text[:])
}

// strictBase64 takes one spelling of each value only.
var strictBase64 = base64.RawURLEncoding.Strict()

// isTokenID reports whether s can be a random token of the given size, so that
// nothing else is looked up.
func isTokenID(s string, size int) bool {
	if len(s) != strictBase64.EncodedLen(size) {
		return false
	}
	var raw [64]byte // on the stack, for all tokens of ours
	_, err := strictBase64.AppendDecode(raw[:0], []byte(s))
	return err == nil
}

func (h *heldRequest) expires() time.Time { return time.UnixMilli(h.Expires) }

// stateAt is the state at a time: what has passed its expiry without having come
// to an end is expired, also if nobody has written that down yet.
func (h *heldRequest) stateAt(now time.Time) State {
	open := h.State == StatePending || h.State == StateApproved
	if open && !now.Before(h.expires()) {
		return StateExpired
	}
	return h.State
}

// loadRequest reads a request. It returns ErrNotFound if there is none.
func (p *Provider) loadRequest(ctx context.Context, id string) (*heldRequest, error) {
	if !isTokenID(id, sha256.Size) {
		return nil, ErrNotFound
	}
	stored, err := p.cfg.Store.Get(ctx, kindRequest, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading request: %w", err)
	}
	return decodeRequest(stored)
}

// logStep writes a line about a step of a request. The fields are made only if somebody
// reads it.
func (p *Provider) logStep(step string, h *heldRequest) {
	entry := p.log.Check(zap.InfoLevel, step)
	if entry != nil {
		entry.Write(zap.String("request", h.id), zap.String("client", h.Client), zap.String("subject", h.Subject))
	}
}

func decodeRequest(stored *store.Record) (*heldRequest, error) {
	h := &heldRequest{id: stored.ID, version: stored.Version}
	err := h.requestRecord.decode(stored.Data)
	if err != nil {
		return nil, fmt.Errorf("decoding request: %w", err)
	}
	return h, nil
}

// storeRecord returns the record to write.
func (h *heldRequest) storeRecord() (*store.Record, error) {
	data, err := h.requestRecord.encode()
	if err != nil {
		return nil, err
	}
	r := &store.Record{
		Kind:    kindRequest,
		ID:      h.id,
		Version: h.version,
		Data:    data,
		Expires: h.expires().Add(tombstone),
	}
	keep := time.UnixMilli(max(h.KeepUntil, h.HistoryUntil))
	if keep.After(r.Expires) {
		r.Expires = keep
	}
	r.Indexes = h.indexes()
	return r, nil
}

// indexes returns the entries by which the request is found.
func (h *heldRequest) indexes() []store.Index {
	var entries []store.Index
	if h.State == StatePending {
		entries = append(entries, pendingIndex(h.Subject))
	}
	if h.State == StatePending && h.Callback != nil {
		entries = append(entries, expiringIndex(expirySlotOf(h.expires())))
	}
	if h.Window != 0 {
		entries = append(entries, promptedIndex(h.Subject, h.Window))
	}
	if h.HistoryUntil != 0 {
		entries = append(entries, historyIndex(h.Subject, historyWindowOf(h.Created)))
	}
	if h.owesCallback() {
		entries = append(entries, outboxIndex)
	}
	return entries
}

func pendingIndex(subject string) store.Index {
	return store.Index{Name: indexPending, Value: subject}
}

// move takes the request along one edge by one conditional write. Of several
// callers that have read the same state one succeeds, and the others get
// store.ErrConflict. The fields that go with the new state are set in change.
func (p *Provider) move(ctx context.Context, h *heldRequest, to State, change func(*requestRecord)) error {
	if !slices.Contains(edges[h.State], to) {
		return fmt.Errorf("a request can not go from %s to %s", h.State, to)
	}
	next := *h
	next.State = to
	if endsCallback(h.State, to) {
		next.Callback = nil
	}
	if change != nil {
		change(&next.requestRecord)
	}
	p.enterHistory(&next)
	record, err := next.storeRecord()
	if err != nil {
		return err
	}
	err = p.cfg.Store.Update(ctx, record)
	if err != nil {
		return fmt.Errorf("writing request as %s: %w", to, err)
	}
	next.version = record.Version
	*h = next
	return nil
}

// endsCallback reports whether there is nothing left to tell the client behind a
// step: it has collected its tokens, has cancelled, or was told of an approval that
// has come to nothing.
func endsCallback(from, to State) bool {
	switch to {
	case StateCancelled:
		return from != StateCancelled
	case StateRedeemed, StateExpired:
		return from == StateApproved
	}
	return false
}

// expire writes down that a request has expired, so that no node with a slower
// clock can still approve it. If somebody else has come first there is nothing to do,
// unless they have only noted something.
func (p *Provider) expire(ctx context.Context, h *heldRequest) error {
	for {
		err := p.move(ctx, h, StateExpired, nil)
		if err == nil {
			p.raise(ctx, EventExpired, h)
			return nil
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		current, err := p.loadRequest(ctx, h.id)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if current.State != h.State || current.stateAt(p.now()) != StateExpired {
			return nil
		}
		*h = *current
	}
}
