package provider

import (
	"context"
	"encoding/json"
	"errors"
	"unicode"
)

// maxLoginHint bounds login_hint in bytes.
const maxLoginHint = 512

// hint says who is to be asked: its login or its subject is set.
type hint struct {
	kind    string
	login   string
	subject string
	claims  json.RawMessage // of a login_hint_token
}

// readHint takes exactly one of the three hints (CIBA checklist A6).
func (p *Provider) readHint(ctx context.Context, c *client, f *form) (hint, error) {
	login, loginToken, idToken := f.get("login_hint"), f.get("login_hint_token"), f.get("id_token_hint")
	given := 0
	for _, value := range []string{login, loginToken, idToken} {
		if value != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return hint{}, badRequest("Exactly one of login_hint, login_hint_token and id_token_hint is needed.")
	case login != "":
		return readLoginHint(login)
	case loginToken != "":
		h, err := p.checkLoginHintToken(loginToken)
		if errors.Is(err, errHintExpired) {
			return hint{}, refuse(codeExpiredLoginHintToken, "The login_hint_token has expired.")
		}
		if err != nil {
			return hint{}, badRequest("The login_hint_token is not acceptable.").because(err)
		}
		return h, nil
	}
	set, err := p.keys(ctx)
	if err != nil {
		return hint{}, unavailable(err)
	}
	subject, err := p.checkIDTokenHint(set, c, idToken)
	if err != nil {
		return hint{}, badRequest("The id_token_hint is not acceptable.").because(err)
	}
	return hint{kind: HintIDToken, subject: subject}, nil
}

func readLoginHint(login string) (hint, error) {
	if len(login) > maxLoginHint {
		return hint{}, badRequest("login_hint is too long.")
	}
	for _, r := range login {
		if unicode.IsControl(r) {
			return hint{}, badRequest("login_hint has control characters.")
		}
	}
	return hint{kind: HintLogin, login: login}, nil
}

// resolveHint returns the user that is to be asked, or a decoy. A disabled user is
// not told apart from one that does not exist.
func (p *Provider) resolveHint(ctx context.Context, c *client, h hint) (*User, error) {
	user, err := p.lookUp(ctx, c, h)
	if err == nil && (user.Disabled || !isSubject(user.ID)) {
		err = ErrUserNotFound
	}
	if errors.Is(err, ErrUserNotFound) && p.cfg.MaskUnknownUsers {
		return p.decoy(h, user), nil
	}
	if errors.Is(err, ErrUserNotFound) {
		return nil, refuse(codeUnknownUserID, "The hint does not lead to a user.").because(err)
	}
	if err != nil {
		return nil, extensionError("looking up user", err)
	}
	return user, nil
}
