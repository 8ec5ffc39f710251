package idp

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/approval"
	"github.com/caddyciba/gateway/idp/provider"
)

const (
	// defaultLinkLife is how long an enrollment link is open, and maxLinkLife how long
	// at most.
	defaultLinkLife = 24 * time.Hour
	maxLinkLife     = 7 * 24 * time.Hour

	// listBatch is how many users are read at a time.
	listBatch = 500
)

// newUser is what a customer is made of who is added.
type newUser struct {
	Username string         `json:"username"`
	Name     string         `json:"name,omitempty"`
	Subject  string         `json:"subject,omitempty"` // Default: the user name.
	Claims   map[string]any `json:"claims,omitempty"`
	linkLife
}

// linkLife is for how long an enrollment link is to be open, as 12h.
type linkLife struct {
	Expires string `json:"link_expires_in,omitempty"` // Default: 24h.
}

// userInfo is what operators see of a customer.
type userInfo struct {
	Username string         `json:"username"`
	Subject  string         `json:"subject"`
	Name     string         `json:"name,omitempty"`
	Claims   map[string]any `json:"claims,omitempty"`
	Disabled bool           `json:"disabled,omitempty"`
	Added    bool           `json:"added"` // here, and not by the config
	Password bool           `json:"password"`
	Factors  *factorsInfo   `json:"factors,omitempty"`
	Link     *linkInfo      `json:"link,omitempty"`
}

// factorsInfo is what a customer signs in with.
type factorsInfo struct {
	Passkeys      []passkeyInfo `json:"passkeys"`
	TOTP          bool          `json:"totp"`
	RecoveryCodes int           `json:"recovery_codes"`
	Sessions      int           `json:"sessions"`
	LinkExpires   *time.Time    `json:"link_expires,omitempty"`
}

// passkeyInfo is one passkey.
type passkeyInfo struct {
	ID      string     `json:"id"`
	Name    string     `json:"name,omitempty"`
	Added   time.Time  `json:"added"`
	Used    *time.Time `json:"used,omitempty"`
	Synced  bool       `json:"synced"`
	Blocked bool       `json:"blocked"`
}

// linkInfo is a new enrollment link. It is told once.
type linkInfo struct {
	URL     string    `json:"url"`
	Code    string    `json:"code"`
	Expires time.Time `json:"expires"`
}

func describeUser(u *provider.User) userInfo {
	return userInfo{
		Username: u.Username, Subject: u.ID, Name: u.Name, Claims: u.Claims,
		Disabled: u.Disabled, Password: u.PasswordHash != "",
	}
}

// user finds the customer of the call, whether added here or named by the config.
func (c adminCall) user() (*provider.User, error) {
	return c.in.users.ByLogin(c.Context(), c.name)
}

func (c adminCall) list() (any, error) {
	all, after := []userInfo{}, ""
	for {
		users, err := c.in.stored.List(c.Context(), after, listBatch)
		if err != nil {
			return nil, err
		}
		for _, u := range users {
			info := describeUser(u)
			info.Added = true
			all, after = append(all, info), u.Username
		}
		if len(users) < listBatch {
			return all, nil
		}
	}
}

func (c adminCall) create() (any, error) {
	var wanted newUser
	err := c.decode(&wanted)
	if err != nil {
		return nil, err
	}
	life, err := wanted.life()
	if err != nil {
		return nil, err
	}
	// The same is asked of users that the config names.
	u := User{Username: wanted.Username, Name: wanted.Name, Subject: wanted.Subject, Claims: wanted.Claims}
	err = u.checkIdentity()
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	created := provider.User{ID: u.subject(), Username: u.Username, Name: u.Name, Claims: u.Claims}
	err = c.unknown(created)
	if err != nil {
		return nil, err
	}
	err = c.in.stored.Create(c.Context(), created)
	if err != nil {
		return nil, err
	}
	c.note("user added", created.ID)
	info := describeUser(&created)
	info.Added = true
	info.Link, err = c.newLink(&created, life)
	return info, err
}

// unknown returns provider.ErrUserExists if somebody has the name or the subject.
func (c adminCall) unknown(u provider.User) error {
	for _, find := range []func() (*provider.User, error){
		func() (*provider.User, error) { return c.in.users.ByLogin(c.Context(), u.Username) },
		func() (*provider.User, error) { return c.in.users.BySubject(c.Context(), u.ID) },
	} {
		_, err := find()
		if err == nil {
			return provider.ErrUserExists
		}
		if !errors.Is(err, provider.ErrUserNotFound) {
			return err
		}
	}
	return nil
}

func (l linkLife) life() (time.Duration, error) {
	if l.Expires == "" {
		return defaultLinkLife, nil
	}
	life, err := time.ParseDuration(l.Expires)
	if err != nil || life < time.Minute || life > maxLinkLife {
		return 0, adminError(http.StatusBadRequest, fmt.Errorf("link_expires_in is %q, but must be from 1m to %s", l.Expires, maxLinkLife))
	}
	return life, nil
}

func (c adminCall) newLink(u *provider.User, life time.Duration) (*linkInfo, error) {
	token, expires, err := c.in.factors.NewLink(c.Context(), u.ID, life)
	if err != nil {
		return nil, err
	}
	c.note("enrollment link made", u.ID)
	c.changed("link_made", u.ID)
	return &linkInfo{URL: c.in.approval.EnrollURL(token), Code: token, Expires: expires.UTC()}, nil
}

func (c adminCall) show() (any, error) {
	u, err := c.user()
	if err != nil {
		return nil, err
	}
	info := describeUser(u)
	stored, err := c.in.stored.ByLogin(c.Context(), c.name)
	info.Added = err == nil && stored.ID == u.ID
	account, err := c.in.factors.Account(c.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	sessions, err := c.in.approval.CountSessions(c.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	info.Factors = &factorsInfo{
		Passkeys: []passkeyInfo{}, TOTP: account.TOTP != nil, RecoveryCodes: account.RecoveryCodes,
		Sessions: sessions, LinkExpires: timeOrNil(account.LinkExpires),
	}
	for _, p := range account.Passkeys {
		info.Factors.Passkeys = append(info.Factors.Passkeys, passkeyInfo{
			ID: p.ID, Name: p.Name, Added: p.Added.UTC(), Used: timeOrNil(p.Used), Synced: p.Synced, Blocked: p.Blocked,
		})
	}
	return info, nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (c adminCall) change() (any, error) {
	var wanted struct {
		Disabled *bool `json:"disabled"`
	}
	err := c.decode(&wanted)
	if err != nil {
		return nil, err
	}
	if wanted.Disabled == nil {
		return nil, adminError(http.StatusBadRequest, errors.New("nothing to change: disabled is missing"))
	}
	err = c.in.stored.Change(c.Context(), c.name, func(u *provider.User) { u.Disabled = *wanted.Disabled })
	if err != nil {
		return nil, err
	}
	u, err := c.user()
	if err != nil {
		return nil, err
	}
	if *wanted.Disabled {
		c.note("user disabled", u.ID)
	} else {
		c.note("user enabled", u.ID)
	}
	return nil, nil
}

// remove takes the means to sign in first: somebody who is half removed must not be
// able to do anything.
func (c adminCall) remove() (any, error) {
	u, err := c.in.stored.ByLogin(c.Context(), c.name)
	if err != nil {
		return nil, err
	}
	err = c.in.factors.Forget(c.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	_, err = c.in.approval.EndSessions(c.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	err = c.in.stored.Remove(c.Context(), c.name)
	if err != nil {
		return nil, err
	}
	c.note("user removed", u.ID)
	c.changed("all_removed", u.ID)
	return nil, nil
}

func (c adminCall) makeLink() (any, error) {
	var wanted linkLife
	if c.ContentLength != 0 {
		err := c.decode(&wanted)
		if err != nil {
			return nil, err
		}
	}
	life, err := wanted.life()
	if err != nil {
		return nil, err
	}
	u, err := c.user()
	if err != nil {
		return nil, err
	}
	return c.newLink(u, life)
}

func (c adminCall) closeLink() (any, error) {
	u, err := c.user()
	if err != nil {
		return nil, err
	}
	return nil, c.in.factors.CancelLink(c.Context(), u.ID)
}

func (c adminCall) removeFactors() (any, error) {
	u, err := c.user()
	if err != nil {
		return nil, err
	}
	change := string(approval.ChangePasskeyRemoved)
	switch c.id {
	case "":
		change = "all_removed"
		err = c.in.factors.Forget(c.Context(), u.ID)
	case "totp":
		change = string(approval.ChangeTOTPRemoved)
		err = c.in.factors.RemoveTOTP(c.Context(), u.ID)
	default:
		err = c.in.factors.RemovePasskey(c.Context(), u.ID, c.id)
	}
	if err != nil {
		return nil, err
	}
	c.note("factors removed by the operator", u.ID, zap.String("factor", c.id))
	c.changed(change, u.ID)
	return nil, nil
}

func (c adminCall) endSessions() (any, error) {
	u, err := c.user()
	if err != nil {
		return nil, err
	}
	ended, err := c.in.approval.EndSessions(c.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	c.note("sessions ended by the operator", u.ID, zap.Int("sessions", ended))
	return map[string]int{"ended": ended}, nil
}

// changed reports that what a customer proves with was changed by an operator.
func (c adminCall) changed(change, subject string) {
	c.in.tellFactors(change, subject, map[string]any{"by": "operator"})
}

// note logs what an operator has done.
func (c adminCall) note(what, subject string, fields ...zap.Field) {
	c.in.out.logger().Info(what, append(fields, zap.String("subject", subject), zap.String("issuer", c.in.issuer))...)
}
