package stepup

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"time"
)

// Transaction is a held request and what became of it, as the journal keeps it.
// It has neither the request's body nor a token, and of caller and customer
// only a hash, so it can be listed and shown to operators.
type Transaction struct {
	// ID is a random UUID. It is public: it names the transaction and opens
	// nothing.
	ID string `json:"id"`

	// Route is the name of the route that held the request.
	Route string `json:"route,omitempty"`

	// Gate is the name of the gate that asked, among those that share a store.
	Gate string `json:"gate,omitempty"`

	// Mode is how the caller waits: hold, redirect or async.
	Mode Mode `json:"mode,omitempty"`

	// Kept says that the request lies in the store, encrypted, so that it goes on
	// without its caller's connection, and without the process that took it.
	Kept bool `json:"kept,omitempty"`

	// Method, Host and Target say what was asked for. The target is without its
	// query, in which legacy APIs keep secrets.
	Method string `json:"method"`
	Host   string `json:"host"`
	Target string `json:"target"`

	// Digest is what the approval is bound to; see [Digest].
	Digest string `json:"digest"`

	// Customer and Caller are fingerprints; see [Fingerprint].
	Customer string `json:"customer,omitempty"`
	Caller   string `json:"caller,omitempty"`

	// State is where the transaction is.
	State State `json:"state"`

	// Times says when each state was entered, by the gateway's clock.
	Times map[State]time.Time `json:"times"`

	// Deadline is when a living process has moved the transaction on at the
	// latest. After it, the process that held it is dead.
	Deadline time.Time `json:"deadline"`

	// Instance names the process that holds the transaction.
	Instance string `json:"instance"`

	// Claim names the one attempt that entered the state sending.
	Claim string `json:"claim,omitempty"`

	// Problem says why the transaction ended, if a refusal ended it.
	Problem Problem `json:"problem,omitempty"`

	// TimedOut says of a transaction in doubt that the upstream had not answered in
	// time, and not that the connection failed.
	TimedOut bool `json:"timed_out,omitempty"`

	// Status is the upstream's HTTP status, once it has answered.
	Status int `json:"status,omitempty"`

	// Resolution is what an operator has found out about a transaction in doubt.
	Resolution *Resolution `json:"resolution,omitempty"`
}

// Forwarded says whether the upstream has seen the request.
func (t *Transaction) Forwarded() Forwarded {
	switch t.State {
	case StateAnswered:
		return ForwardedYes
	case StateSending, StateInDoubt:
		return ForwardedUnknown
	default:
		return ForwardedNo
	}
}

// clone returns a copy that shares nothing with t.
func (t *Transaction) clone() *Transaction {
	c := *t
	c.Times = maps.Clone(t.Times)
	return &c
}

func (t *Transaction) encode() ([]byte, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encoding transaction: %w", err)
	}
	return data, nil
}

func decodeTransaction(data []byte) (*Transaction, error) {
	t := &Transaction{}
	err := json.Unmarshal(data, t)
	if err != nil {
		return nil, fmt.Errorf("decoding transaction: %w", err)
	}
	_, known := edges[t.State]
	if !known {
		return nil, fmt.Errorf("decoding transaction: unknown state %q", string(t.State))
	}
	return t, nil
}

// Fingerprint is how the journal names a caller or customer: a hash, so that a
// list of transactions is not a list of customers, and the same one each time,
// so that an operator who knows a customer finds the transactions. It hides
// nothing from somebody who can guess the name. Empty stays empty.
func Fingerprint(name string) string {
	if name == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("caddyciba fingerprint v1\x00" + name))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// newUUID returns a random UUID (RFC 9562 section 5.4).
func newUUID(random io.Reader) (string, error) {
	var u [16]byte
	_, err := io.ReadFull(random, u[:])
	if err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16]), nil
}
