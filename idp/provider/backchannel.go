package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// holdFor bounds the writing down of a request.
const holdFor = 10 * time.Second

// authenticationRequest is a backchannel authentication request whose parameters
// were checked (CIBA Core 1.0 section 7.1).
type authenticationRequest struct {
	received       time.Time
	scope          []string
	resources      []string
	hint           hint
	bindingMessage string
	acrValues      []string
	details        json.RawMessage
	context        json.RawMessage
	matchCode      string
	lifetime       time.Duration
	bound          confirmation

	notificationToken string
}

// authenticationResponse is the answer of CIBA Core 1.0 section 7.3.
type authenticationResponse struct {
	AuthReqID string `json:"auth_req_id"`
	ExpiresIn int64  `json:"expires_in"`
	Interval  int64  `json:"interval,omitempty"` // not for push
}

// serveBackchannel is the backchannel authentication endpoint. The order of work
// is that of CIBA Core 1.0 section 7.2 (CIBA checklist A16).
func (p *Provider) serveBackchannel(w http.ResponseWriter, r *http.Request) error {
	received := p.now()
	ctx := r.Context()
	err := p.checkSource(r)
	if err != nil {
		return err
	}
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := p.admit(r, f)
	if err != nil {
		return err
	}
	err = p.checkClientRate(c)
	if err != nil {
		return err
	}
	if !c.hasGrant(GrantCIBA) && c.DeliveryMode != DeliveryPush {
		return refuse(codeUnauthorizedClient, "The client may not use CIBA.")
	}
	answer, subject, err := p.begin(r, c, f, received)
	if err != nil {
		return p.refused(ctx, c, subject, err)
	}
	return writeJSON(w, answer)
}

// begin makes an authentication request of a proven client. Besides an error it
// returns the subject, if the hint has led to one.
func (p *Provider) begin(r *http.Request, c *client, f *form, received time.Time) (*authenticationResponse, string, error) {
	ctx := r.Context()
	f, err := p.unwrapRequest(ctx, c, f)
	if err != nil {
		return nil, "", err
	}
	req, err := p.readAuthenticationRequest(ctx, c, f)
	if err != nil {
		return nil, "", err
	}
	req.received = received
	user, err := p.resolveHint(ctx, c, req.hint)
	if err != nil {
		return nil, "", err
	}
	err = p.checkUserCode(ctx, c, user, f.get("user_code"))
	if err != nil {
		return nil, user.ID, err
	}
	err = c.checkContext(req)
	if err != nil {
		return nil, user.ID, err
	}
	err = p.checkPolicies(r, c, user, f, req)
	if err != nil {
		return nil, user.ID, err
	}
	req.bound, err = p.startConfirmation(r, c)
	if err != nil {
		return nil, user.ID, err
	}
	authReqID, err := p.hold(ctx, c, user, req)
	if err != nil {
		return nil, user.ID, err
	}
	answer := &authenticationResponse{AuthReqID: authReqID, ExpiresIn: int64(req.lifetime / time.Second)}
	if c.DeliveryMode != DeliveryPush {
		answer.Interval = int64(p.intervalOf(c) / time.Second)
	}
	return answer, user.ID, nil
}

// readAuthenticationRequest checks the parameters of a request. What it does not
// know it ignores, as section 7.2 asks for; what it knows and does not do it
// refuses.
func (p *Provider) readAuthenticationRequest(ctx context.Context, c *client, f *form) (*authenticationRequest, error) {
	if f.get("request_uri") != "" {
		return nil, badRequest("request_uri is not a parameter of CIBA.")
	}
	scope, err := p.readScope(c, f.get("scope"))
	if err != nil {
		return nil, err
	}
	resources, err := p.readResources(f.all("resource"), scope)
	if err != nil {
		return nil, err
	}
	h, err := p.readHint(ctx, c, f)
	if err != nil {
		return nil, err
	}
	message := f.get("binding_message")
	err = checkBindingMessage(message, p.cfg.BindingMessageMax)
	if err != nil {
		return nil, refuse(codeInvalidBindingMessage, "The binding message can not be shown: it must be short plain text.").because(err)
	}
	acrValues, err := p.readACRValues(f.get("acr_values"))
	if err != nil {
		return nil, err
	}
	details, err := p.readDetails(c, f.get("authorization_details"))
	if err != nil {
		return nil, err
	}
	requestContext, err := readRequestContext(f.get("request_context"))
	if err != nil {
		return nil, err
	}
	matchCode, err := p.readMatchCode(f.get("match_code"))
	if err != nil {
		return nil, err
	}
	token, err := readNotificationToken(c, f.get("client_notification_token"))
	if err != nil {
		return nil, err
	}
	lifetime, err := p.readExpiry(c, f.get("requested_expiry"))
	if err != nil {
		return nil, err
	}
	return &authenticationRequest{
		scope: scope, resources: resources, hint: h, bindingMessage: message, acrValues: acrValues,
		details: details, context: requestContext, matchCode: matchCode, notificationToken: token, lifetime: lifetime,
	}, nil
}

// readScope checks the scope parameter (CIBA checklist A5).
func (p *Provider) readScope(c *client, value string) ([]string, error) {
	if value == "" {
		return nil, badRequest("scope is missing.")
	}
	names := splitScope(value)
	if names == nil {
		return nil, refuse(codeInvalidScope, "scope is malformed.")
	}
	if !slices.Contains(names, scopeOpenID) {
		return nil, badRequest("scope must contain openid.")
	}
	for _, name := range names {
		_, known := p.scopes[name]
		if !known || !c.allows(name) {
			return nil, refuse(codeInvalidScope, "A scope is unknown or not allowed for the client.")
		}
	}
	return names, nil
}

// readACRValues returns those of the values that can be reached. A client that
// asks only for others learns at once that it will not get them.
func (p *Provider) readACRValues(value string) ([]string, error) {
	if value == "" {
		return nil, nil
	}
	var supported []string
	for _, acr := range strings.Fields(value) {
		if slices.Contains(p.cfg.ACRValues, acr) && !slices.Contains(supported, acr) {
			supported = append(supported, acr)
		}
	}
	if len(supported) == 0 {
		return nil, badRequest("None of the acr_values is supported.")
	}
	return supported, nil
}

// readExpiry returns the lifetime of the request. A wish that is too long is cut
// (CIBA checklist A12).
func (p *Provider) readExpiry(c *client, value string) (time.Duration, error) {
	if value == "" {
		return p.lifetimeOf(c), nil
	}
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return 0, badRequest("requested_expiry must be a positive integer.")
		}
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds == 0 {
		return 0, badRequest("requested_expiry must be a positive integer.")
	}
	most := int64(p.cfg.MaxRequestLifetime / time.Second)
	return time.Duration(min(seconds, most)) * time.Second, nil
}

// hold writes the request down and has the user told. It returns the auth_req_id,
// which exists nowhere else.
func (p *Provider) hold(ctx context.Context, c *client, user *User, req *authenticationRequest) (string, error) {
	err := p.checkGuard(ctx, user.ID, c.ID)
	if err != nil {
		return "", err
	}
	err = p.checkPending(ctx, c.ID, user.ID, "")
	if err != nil {
		return "", err
	}
	err = p.checkPrompts(ctx, user.ID, c.ID)
	if err != nil {
		return "", err
	}
	authReqID, err := p.newAuthReqID()
	if err != nil {
		return "", err
	}
	h := &heldRequest{
		id: requestID(authReqID),
		requestRecord: requestRecord{
			State:          StatePending,
			Client:         c.ID,
			Subject:        user.ID,
			Scope:          req.scope,
			Resources:      req.resources,
			BindingMessage: req.bindingMessage,
			ACRValues:      req.acrValues,
			Details:        req.details,
			MatchCode:      req.matchCode,
			Place:          placeOf(req.context),
			Created:        req.received.UnixMilli(),
			Expires:        req.received.Add(req.lifetime).UnixMilli(),
			Interval:       int64(p.intervalOf(c) / time.Second),
		},
	}
	if p.cfg.Limits.User.bounds() {
		h.Window = p.promptWindow(req.received)
	}
	if !req.bound.none() {
		h.Bound = &req.bound
	}
	if req.notificationToken != "" {
		callback := callbackState{Push: c.DeliveryMode == DeliveryPush}
		h.Callback, err = callback.withSecret(p, h.id, callbackSecret{AuthReqID: authReqID, Token: req.notificationToken})
		if err != nil {
			return "", err
		}
		p.startOutbox(ctx)
	}
	record, err := h.storeRecord()
	if err != nil {
		return "", err
	}
	// From here on a client that hangs up must not leave behind a prompt that
	// nobody can redeem: what has begun is finished, or taken back.
	caller := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(caller), holdFor)
	defer cancel()
	err = p.cfg.Store.Create(ctx, record)
	if err != nil {
		return "", unavailable(fmt.Errorf("writing request: %w", err))
	}
	h.version = record.Version
	err = p.checkPending(ctx, c.ID, user.ID, h.id)
	if err == nil && caller.Err() != nil {
		err = unavailable(fmt.Errorf("the client has gone: %w", caller.Err()))
	}
	if err != nil {
		return "", errors.Join(err, p.withdraw(ctx, c, h))
	}
	p.logStep("request held", h)
	if isDecoy(h.Subject) {
		p.raiseAbout(ctx, EventRefused, h.Client, h.Subject, codeUnknownUserID)
	}
	p.raise(ctx, EventRequested, h)
	p.notify(ctx, h)
	return authReqID, nil
}

// withdraw removes a request that was written and then found to be one too many,
// or of no use to anybody. If the user has decided it already, or the store does not
// remove it, it is cancelled.
func (p *Provider) withdraw(ctx context.Context, c *client, h *heldRequest) error {
	err := p.cfg.Store.Delete(ctx, kindRequest, h.id, h.version)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	cancelErr := p.takeBack(ctx, h.id, c.ID, "its client has gone, or is asking too much")
	if cancelErr != nil {
		return fmt.Errorf("withdrawing request: %w", errors.Join(err, cancelErr))
	}
	return nil
}
