package factor

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

const purposeStatement = "passkey-statement"

// Statement is what a customer agrees to with a passkey. Its hash is the challenge
// that the authenticator signs, so that the answer is proof of this statement and of
// no other: change one byte of it and the answer is void.
type Statement struct {
	// Subject is who agrees.
	Subject string

	// Request names what is agreed to.
	Request string

	// Shown is the SHA-256 of everything that was on the page to be read.
	Shown [sha256.Size]byte

	// Choice is the decision with all that the customer could choose on the page,
	// for example "approve" and the permissions that are ticked. It is written out
	// by the browser as well, so it is one text.
	Choice string
}

// prefix hashes what is known before the customer chooses.
func (s Statement) prefix(ticket string) [sha256.Size]byte {
	h := sha256.New()
	for _, part := range []string{"caddyciba approval 1", ticket, s.Subject, s.Request, string(s.Shown[:])} {
		writePart(h, []byte(part))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Challenge is the challenge of a statement:
//
//	SHA-256(prefix || UTF-8(choice))
//
// where prefix is the SHA-256 of the fixed text "caddyciba approval 1", the ticket,
// the subject, the request and the digest of what was shown, each with its length in
// eight bytes in front. It is exported for those who verify evidence.
func (s Statement) Challenge(ticket string) [sha256.Size]byte {
	prefix := s.prefix(ticket)
	return sha256.Sum256(append(prefix[:], s.Choice...))
}

// StatementOptions is what a page needs to have a statement signed.
type StatementOptions struct {
	// Ticket goes into the form, and comes back with the answer.
	Ticket string

	// Prefix, in base64url, is what the browser hashes together with the choice:
	// the challenge is SHA-256(prefix || choice).
	Prefix string

	// Options are PublicKeyCredentialRequestOptionsJSON without the challenge.
	Options json.RawMessage
}

// StatementOptions prepares a page on which a customer can agree to something. The
// choice of the statement is not needed yet. Allow says which passkeys will do; nil
// stands for all that are not blocked.
func (v *Vault) StatementOptions(ctx context.Context, s Statement, binding Binding, allow func(Passkey) bool) (*StatementOptions, error) {
	if v.web == nil {
		return nil, ErrNoPasskeys
	}
	h, err := v.load(ctx, s.Subject)
	if err != nil {
		return nil, err
	}
	ticket, err := v.Ticket(ctx, nil, statementBinding(s, binding))
	if err != nil {
		return nil, err
	}
	options, err := v.encodeOptions("", h, allow)
	if err != nil {
		return nil, err
	}
	prefix := s.prefix(ticket)
	return &StatementOptions{
		Ticket: ticket, Options: options, Prefix: base64.RawURLEncoding.EncodeToString(prefix[:]),
	}, nil
}

func statementBinding(s Statement, binding Binding) Binding {
	return append(Binding{purposeStatement, s.Subject, s.Request}, binding...)
}

// Agree checks that the answer of an authenticator is the customer's agreement to the
// statement, and uses the ticket up. Errors are ErrMalformed, ErrStale, ErrWrong,
// ErrCloned and ErrChanged.
func (v *Vault) Agree(ctx context.Context, s Statement, binding Binding, ticket string, response []byte) (*Assertion, error) {
	parsed, err := v.parse(response)
	if err != nil {
		return nil, err
	}
	signed, err := base64.RawURLEncoding.Strict().DecodeString(parsed.Response.CollectedClientData.Challenge)
	if err != nil {
		return nil, ErrStale
	}
	want := s.Challenge(ticket)
	if subtle.ConstantTimeCompare(signed, want[:]) != 1 {
		return nil, fmt.Errorf("%w: the answer is for another statement", ErrStale)
	}
	_, err = v.Spend(ctx, ticket, statementBinding(s, binding))
	if err != nil {
		return nil, err
	}
	assertion, err := v.verify(ctx, parsed, response)
	if err != nil {
		return nil, err
	}
	if assertion.Subject != s.Subject {
		return nil, fmt.Errorf("%w: the passkey is another customer's", ErrWrong)
	}
	return assertion, nil
}
