package federation

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"golang.org/x/oauth2"
)

// skew is how far the clocks of the two providers may be apart.
const skew = 30 * time.Second

// maxTokenAge is how old an ID Token may be that was just fetched.
const maxTokenAge = 10 * time.Minute

// Flow is one sign-in that has begun. Its values are secrets of the browser that has
// begun it, but for State.
type Flow struct {
	// State, Nonce and Verifier are random, of at least 43 characters of
	// base64url each, and used once.
	State, Nonce, Verifier string

	// Began is when the browser was sent away.
	Began time.Time

	// Fresh demands that the customer signs in anew, whether signed in over there
	// or not.
	Fresh bool
}

// Begin returns the address to which the browser is sent.
func (i *Issuer) Begin(ctx context.Context, f Flow) (string, error) {
	r, err := i.discover(ctx)
	if err != nil {
		return "", err
	}
	challenge := sha256.Sum256([]byte(f.Verifier))
	options := []oauth2.AuthCodeOption{
		oauth2.SetAuthURLParam("nonce", f.Nonce),
		oauth2.SetAuthURLParam("code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:])),
		oauth2.SetAuthURLParam("code_challenge_method", "S256"),
	}
	if f.Fresh {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	} else {
		options = append(options, oauth2.SetAuthURLParam("max_age", strconv.Itoa(int(i.cfg.MaxAge/time.Second))))
	}
	if len(i.cfg.ACRValues) > 0 {
		options = append(options, oauth2.SetAuthURLParam("acr_values", join(i.cfg.ACRValues)))
	}
	return i.oauth(r).AuthCodeURL(f.State, options...), nil
}

func join(values []string) string {
	joined := ""
	for n, value := range values {
		if n > 0 {
			joined += " "
		}
		joined += value
	}
	return joined
}

// Finish checks the answer with which the browser has come back, fetches the tokens
// and returns who the customer is over there. That the state is the one of the flow,
// and is used once, is for the caller to see to.
func (i *Issuer) Finish(ctx context.Context, f Flow, answer url.Values) (*Identity, error) {
	r, err := i.discover(ctx)
	if err != nil {
		return nil, err
	}
	code, err := i.code(r, f, answer)
	if err != nil {
		return nil, err
	}
	token, err := i.oauth(r).Exchange(i.ctx(ctx), code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return nil, exchangeError(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, mismatch("there is no ID Token in it")
	}
	identity, err := i.verify(ctx, r, f, raw, token.AccessToken)
	if err != nil {
		return nil, err
	}
	identity.remote, identity.access = r, token.AccessToken
	return identity, nil
}

// code takes the code out of the answer.
func (i *Issuer) code(r *remote, f Flow, answer url.Values) (string, error) {
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(answer[name]) > 1 {
			return "", mismatch("it says " + name + " twice")
		}
	}
	// An answer of another provider would make us take its code to this one
	// (RFC 9207).
	issuer := answer.Get("iss")
	switch {
	case subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(f.State)) != 1:
		return "", mismatch("the state is another one")
	case issuer == "" && r.tellsIssue:
		return "", mismatch("it does not name its issuer")
	case issuer != "" && issuer != i.cfg.Issuer:
		return "", mismatch("it is of another issuer")
	}
	code := answer.Get("code")
	switch problem := answer.Get("error"); {
	case problem != "":
		return "", refused("error " + strconv.Quote(clip(problem)))
	case code == "":
		return "", mismatch("there is no code in it")
	}
	return code, nil
}

// clip bounds what is logged of what others say.
func clip(s string) string { return s[:min(len(s), 64)] }

// exchangeError tells why a code was not exchanged, without the answer itself.
func exchangeError(err error) error {
	var answered *oauth2.RetrieveError
	if !errors.As(err, &answered) {
		return unavailable(fmt.Errorf("exchanging the code: %w", brief(err)))
	}
	status := 0
	if answered.Response != nil {
		status = answered.Response.StatusCode
	}
	told := fmt.Sprintf("the code was refused with %d %s", status, strconv.Quote(clip(answered.ErrorCode)))
	if status == 429 || status >= 500 {
		return unavailable(errors.New(told))
	}
	return mismatch(told)
}

// verify checks an ID Token: its signature, issuer, audience and expiry by go-oidc,
// and what that leaves out.
func (i *Issuer) verify(ctx context.Context, r *remote, f Flow, raw, access string) (*Identity, error) {
	now := i.cfg.Now()
	token, err := r.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: verifying the ID Token: %w", ErrMismatch, brief(err))
	}
	identity := &Identity{issuer: i}
	err = identity.decode(token)
	if err != nil {
		return nil, err
	}
	switch {
	case token.Subject == "":
		return nil, mismatch("the ID Token names nobody")
	case subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(f.Nonce)) != 1:
		return nil, mismatch("the nonce is another one")
	case identity.party != "" && identity.party != i.cfg.ClientID, identity.party == "" && len(token.Audience) > 1:
		return nil, mismatch("the ID Token is for another client")
	case token.IssuedAt.After(now.Add(skew)), token.IssuedAt.Before(now.Add(-maxTokenAge)):
		return nil, mismatch("the ID Token is not of now")
	case len(i.cfg.ACRValues) > 0 && !slices.Contains(i.cfg.ACRValues, identity.ACR):
		return nil, mismatch("the sign-in is not of a class that was asked for")
	}
	if token.AccessTokenHash != "" {
		err = token.VerifyAccessToken(access)
		if err != nil {
			return nil, mismatch("the access token is another one")
		}
	}
	return identity, i.checkAge(f, identity, now)
}

// checkAge makes sure that the customer has signed in when it was asked for.
func (i *Issuer) checkAge(f Flow, identity *Identity, now time.Time) error {
	at := identity.AuthTime
	switch {
	case at.IsZero() && f.Fresh:
		return mismatch("it does not say when the customer has signed in")
	case at.IsZero():
		return nil
	case at.After(now.Add(skew)):
		return mismatch("the sign-in is not yet")
	case f.Fresh && at.Before(f.Began.Add(-skew)):
		return mismatch("the sign-in is older than was asked for")
	case at.Before(now.Add(-i.cfg.MaxAge - skew)):
		return mismatch("the sign-in is too old")
	}
	// The clocks may differ; in ours it was not before the browser was sent away,
	// where that was asked for, and not later than now.
	if f.Fresh && at.Before(f.Began) {
		identity.AuthTime = f.Began
	}
	if identity.AuthTime.After(now) {
		identity.AuthTime = now
	}
	return nil
}
