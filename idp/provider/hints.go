package provider

import (
	"context"
	"errors"
	"fmt"
	"unicode"
)

// maxLoginHint bounds login_hint in bytes.
const maxLoginHint = 512

// hint is the one hint of a request that says who is to be asked.
type hint struct {
	login string
}

// readHint takes exactly one of the three hints (CIBA checklist A6).
func readHint(f *form) (hint, error) {
	given := 0
	for _, name := range []string{"login_hint", "login_hint_token", "id_token_hint"} {
		if f.get(name) != "" {
			given++
		}
	}
	if given != 1 {
		return hint{}, badRequest("Exactly one of login_hint, login_hint_token and id_token_hint is needed.")
	}
	login := f.get("login_hint")
	if login == "" {
		return hint{}, badRequest("This kind of hint is not supported.")
	}
	if len(login) > maxLoginHint {
		return hint{}, badRequest("login_hint is too long.")
	}
	for _, r := range login {
		if unicode.IsControl(r) {
			return hint{}, badRequest("login_hint has control characters.")
		}
	}
	return hint{login: login}, nil
}

// resolveHint returns the user that is to be asked. A disabled user is not told
// apart from one that does not exist.
func (p *Provider) resolveHint(ctx context.Context, h hint) (*User, error) {
	user, err := p.cfg.Users.ByLogin(ctx, h.login)
	if err == nil && (user.Disabled || !isSubject(user.ID)) {
		err = ErrUserNotFound
	}
	if errors.Is(err, ErrUserNotFound) {
		return nil, refuse(codeUnknownUserID, "The hint does not lead to a user.").because(err)
	}
	if err != nil {
		return nil, unavailable(fmt.Errorf("looking up user: %w", err))
	}
	return user, nil
}
