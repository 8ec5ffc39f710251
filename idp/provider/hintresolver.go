package provider

import (
	"context"
	"encoding/json"
	"fmt"
)

// Kinds of a [Hint].
const (
	// HintLogin is a login_hint, as the client has sent it.
	HintLogin = "login_hint"

	// HintToken is what a login_hint_token of a trusted issuer says.
	HintToken = "login_hint_token"

	// HintIDToken is the subject of an ID Token of ours.
	HintIDToken = "id_token_hint"
)

// Hint is what a client says of the user who is to be asked. Its form was checked, and
// so was the signature of what is signed.
type Hint struct {
	// Kind is which of the three hints it is.
	Kind string

	// Client is who sends it.
	Client ClientInfo

	// Login or Subject is set: a name that users are known by, or the ID of one.
	Login, Subject string

	// Claims are all claims of a login_hint_token, in JSON. Nil for other hints.
	Claims json.RawMessage
}

// HintResolver finds the user that a hint stands for, and may refuse to have that user
// asked. It is the place for hints of other forms than user names, and for what is to
// be known of a user before a prompt. Resolve must be safe for concurrent use, and
// take about the same time for known and unknown users.
type HintResolver interface {
	// Resolve returns the user. The ID must be one that Config.Users knows too: the
	// user is looked up by it when the request is decided and redeemed. Resolve
	// returns an error wrapping ErrUserNotFound if there is no such user, and a
	// *Refusal to have the request refused with the words of that. Any other error
	// means that it could not tell, and the request is refused as temporarily
	// unavailable. users is Config.Users.
	Resolve(ctx context.Context, h *Hint, users UserStore) (*User, error)
}

// ClaimFinder is what a [UserStore] may also be, for hints that are claims of users,
// such as a customer number or a phone number.
type ClaimFinder interface {
	// ByClaim returns the users who have a claim of the given name with the given
	// text, or with a list in which it stands; two of them are enough to know that
	// there is more than one. None is no error.
	ByClaim(ctx context.Context, name, value string) ([]*User, error)
}

// ByClaim implements ClaimFinder.
func (s *StaticUsers) ByClaim(_ context.Context, name, value string) ([]*User, error) {
	var users []*User
	for _, u := range s.bySubject {
		have, ok := u.claim(name)
		if ok && claimIs(have, value) {
			clone := *u
			users = append(users, &clone)
		}
	}
	return users, nil
}

// claimIs reports whether a claim is the text, or a list with it.
func claimIs(claim any, text string) bool {
	switch claim := claim.(type) {
	case string:
		return claim == text
	case []string:
		for _, element := range claim {
			if element == text {
				return true
			}
		}
	case []any:
		for _, element := range claim {
			if element == text {
				return true
			}
		}
	}
	return false
}

// lookUp finds the user that a hint stands for.
func (p *Provider) lookUp(ctx context.Context, c *client, h hint) (*User, error) {
	if p.cfg.HintResolver != nil {
		user, err := p.cfg.HintResolver.Resolve(ctx, &Hint{
			Kind: h.kind, Client: p.clientInfo(c.ID), Login: h.login, Subject: h.subject, Claims: h.claims,
		}, p.cfg.Users)
		if err == nil && user == nil {
			return nil, fmt.Errorf("resolver has found nobody: %w", ErrUserNotFound)
		}
		return user, err
	}
	if h.subject != "" {
		return p.activeUser(ctx, h.subject)
	}
	return p.cfg.Users.ByLogin(ctx, h.login)
}
