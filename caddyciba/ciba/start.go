package ciba

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// defaultInterval is the pause between polls where the provider names none
	// (CIBA Core section 7.3).
	defaultInterval = 5 * time.Second

	// maxInterval is the longest pause that a provider may ask for. With a longer
	// one no approval would arrive while somebody waits for it.
	maxInterval = time.Minute

	// maxLifetime is the longest that a request stays open on our side, whatever
	// the provider grants.
	maxLifetime = 24 * time.Hour

	// maxAuthReqID bounds the length of an auth_req_id in bytes. Some providers
	// put an encrypted token there.
	maxAuthReqID = 4096
)

// Request asks a customer for approval (CIBA Core section 7.1).
type Request struct {
	// Scope lists what is asked for. "openid" is added where it is missing,
	// because CIBA demands it.
	Scope []string

	// LoginHint, LoginHintToken and IDTokenHint say who the customer is. Exactly
	// one of them must be set.
	LoginHint, LoginHintToken, IDTokenHint string

	// BindingMessage is shown to the customer and to whoever started the request,
	// so that both can tell that they look at the same thing. Optional. It is
	// sent as it is.
	BindingMessage string

	// UserCode is a secret of the customer that some providers demand, so that not
	// everybody can make the customer's phone ring. Optional.
	UserCode string

	// ACRValues are the authentication context classes that will do, the preferred
	// one first. Optional. The provider may ignore them; see Check.ACR.
	ACRValues []string

	// RequestedExpiry is how long the request should stay open, in whole seconds;
	// a fraction is cut off. Zero leaves it to the provider, who may grant
	// something else in any case.
	RequestedExpiry time.Duration

	// AuthorizationDetails is a JSON array after RFC 9396. Optional. Send it to
	// providers that know its types only (Metadata.SupportsDetails).
	AuthorizationDetails json.RawMessage

	// Extra are further parameters, each with one value ("resource" may have
	// several). They cannot replace a parameter that this package sets.
	Extra url.Values
}

// Pending is a request that waits for the customer's decision. It is a plain
// record: it can be stored, restored, and waited for by another process. One
// goroutine at a time may use it with Poll or Wait; Notify is safe at any time.
//
// AuthReqID and NotificationToken are as good as passwords until the request is
// over: store them encrypted and keep them out of logs. Formatting a Pending
// leaves them out.
type Pending struct {
	// AuthReqID is the provider's name for the request.
	AuthReqID string

	// NotificationToken is what the provider has to show when it notifies us. Empty
	// in poll mode. As secret as AuthReqID.
	NotificationToken string

	// StartedAt is when the request was sent, by our clock.
	StartedAt time.Time

	// ExpiresAt is when the request ends, by our clock: the provider's lifetime,
	// counted from StartedAt, at most 24 hours.
	ExpiresAt time.Time

	// Interval is the least time between the answer to a poll and the next poll.
	// It grows by 5 s for good each time that the provider says slow_down.
	Interval time.Duration

	// NextPoll is when Wait polls next. Start puts the first poll one interval
	// after its answer; the provider has to take an earlier one too, so a caller
	// may set it to the zero time.
	NextPoll time.Time

	// Wake lets Wait poll at once instead of at NextPoll whenever it has a value,
	// at most once per Interval. Start makes one for Notify to use. It can be
	// replaced before Wait by any other channel that tells of pings, and may be
	// nil.
	Wake <-chan struct{} `json:"-"`

	signal chan struct{} // Wake, as Notify knows it
	pushed chan outcome  // in push mode, what the provider brings

	faults int       // temporary failures in a row
	woken  time.Time // when there was a poll last, since there are signals
	roused bool      // the next poll is due to a signal
}

// Notify makes a Wait on p poll at once, for example because the provider's ping
// has come. It never blocks, and does nothing for a Pending that was restored.
// Signals that arrive faster than once per Interval
// move only one poll.
func (p *Pending) Notify() {
	select {
	case p.signal <- struct{}{}:
	default:
	}
}

// Format writes when the request expires, and no secret, for every verb.
func (p Pending) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "pending request that expires at "+p.ExpiresAt.UTC().Format(time.RFC3339))
}

// Start sends the request to the provider (CIBA Core section 7.1) and returns
// what to wait for. No customer is asked unless the provider's metadata and keys
// are at hand, so that the answer can be verified. Start is never repeated by
// this package: after CodeUnavailable the customer may have been asked.
func (c *Client) Start(ctx context.Context, req Request) (*Pending, error) {
	form, err := req.form()
	if err != nil {
		return nil, err
	}
	md, err := c.ready(ctx, "start")
	if err != nil {
		return nil, err
	}
	err = c.provable(ctx, md)
	if err != nil {
		return nil, err
	}
	token, err := c.askForNotification(md, form)
	if err != nil {
		return nil, err
	}
	form, err = c.sign(md, form)
	if err != nil {
		return nil, err
	}
	sent := c.now()
	a, err := c.post(ctx, "start", c.mtls.start(md), form, startTimeout)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, a.failure()
	}
	ack, err := readAcknowledgement(a)
	if err != nil {
		return nil, err
	}
	p := &Pending{
		AuthReqID:         ack.id,
		NotificationToken: token,
		StartedAt:         sent,
		ExpiresAt:         sent.Add(ack.life),
		Interval:          ack.interval,
		NextPoll:          c.now().Add(ack.interval),
		signal:            make(chan struct{}, 1),
	}
	p.Wake = p.signal
	if c.longPoll > 0 {
		p.NextPoll = c.now()
	}
	if c.delivery == DeliveryPush {
		p.pushed = make(chan outcome, 1)
	}
	return p, nil
}

// acknowledgement is a successful answer (CIBA Core section 7.3).
type acknowledgement struct {
	id             string
	life, interval time.Duration
}

func readAcknowledgement(a *answer) (*acknowledgement, error) {
	o, err := a.object()
	if err != nil {
		return nil, err
	}
	ack := &acknowledgement{}
	ack.id, err = o.text("auth_req_id")
	if err != nil {
		return nil, a.broken("%w", err)
	}
	if !isAuthReqID(ack.id) {
		return nil, a.broken("auth_req_id is missing or malformed")
	}
	ack.life, err = o.seconds("expires_in", maxLifetime, true)
	if err != nil {
		return nil, a.broken("%w", err)
	}
	if ack.life == 0 {
		return nil, a.broken("expires_in is missing")
	}
	ack.interval, err = o.seconds("interval", maxInterval, false)
	if err != nil {
		return nil, a.broken("%w", err)
	}
	if ack.interval == 0 {
		ack.interval = defaultInterval
	}
	return ack, nil
}

// isAuthReqID reports whether id is made of the characters that CIBA Core section
// 7.3 allows.
func isAuthReqID(id string) bool {
	return id != "" && len(id) <= maxAuthReqID &&
		!strings.ContainsFunc(id, func(r rune) bool { return !isTokenRune(r, "-._") })
}

// form returns the authentication request parameters, or why they cannot
// be sent.
func (r *Request) form() (url.Values, error) {
	const op = "start"
	form := url.Values{}
	scope := r.Scope
	if !slices.Contains(scope, "openid") {
		scope = append([]string{"openid"}, scope...)
	}
	err := setTokens(form, "scope", scope)
	if err != nil {
		return nil, err
	}
	err = setTokens(form, "acr_values", r.ACRValues)
	if err != nil {
		return nil, err
	}
	hints := 0
	for name, value := range map[string]string{
		"login_hint":       r.LoginHint,
		"login_hint_token": r.LoginHintToken,
		"id_token_hint":    r.IDTokenHint,
	} {
		if value != "" {
			form.Set(name, value)
			hints++
		}
	}
	if hints != 1 {
		return nil, invalidArgument(op, "exactly one hint is needed, %d are set", hints)
	}
	if r.BindingMessage != "" {
		form.Set("binding_message", r.BindingMessage)
	}
	if r.UserCode != "" {
		form.Set("user_code", r.UserCode)
	}
	if r.RequestedExpiry != 0 {
		seconds := int64(r.RequestedExpiry / time.Second)
		if seconds < 1 {
			return nil, invalidArgument(op, "requested expiry is below one second")
		}
		form.Set("requested_expiry", strconv.FormatInt(seconds, 10))
	}
	if len(r.AuthorizationDetails) > 0 {
		var list []json.RawMessage
		err := json.Unmarshal(r.AuthorizationDetails, &list)
		if err != nil || list == nil {
			return nil, invalidArgument(op, "authorization details are not a JSON array")
		}
		form.Set("authorization_details", string(r.AuthorizationDetails))
	}
	return form, addExtra(form, r.Extra)
}

// setTokens joins values by spaces. A value that contains one would turn into
// two.
func setTokens(form url.Values, name string, values []string) error {
	for _, v := range values {
		if v == "" || strings.ContainsAny(v, " \t\r\n") {
			return invalidArgument("start", "%s has a value that is empty or contains white space", name)
		}
	}
	if len(values) > 0 {
		form.Set(name, strings.Join(values, " "))
	}
	return nil
}

// ownParameters are set by this package only, also where the request at hand
// does not use them.
var ownParameters = []string{
	"scope", "acr_values", "login_hint", "login_hint_token", "id_token_hint", "binding_message",
	"user_code", "requested_expiry", "authorization_details", "client_notification_token",
	"request", "request_uri", "client_id", "client_secret", "client_assertion", "client_assertion_type",
}

// IsOwnParameter reports whether a parameter of authentication requests is set by
// this package, so that Request.Extra cannot have it.
func IsOwnParameter(name string) bool {
	return slices.Contains(ownParameters, name) || slices.Contains(registeredClaims, name)
}

// registeredClaims are what a signed request says about itself. A parameter of
// such a name could not be told from it.
var registeredClaims = []string{"iss", "aud", "jti", "iat", "nbf", "exp", "sub"}

func addExtra(form, extra url.Values) error {
	for name, values := range extra {
		if IsOwnParameter(name) {
			return invalidArgument("start", "extra parameter %s is not allowed", name)
		}
		if len(values) != 1 && name != "resource" {
			return invalidArgument("start", "extra parameter %s needs exactly one value", name)
		}
		form[name] = slices.Clone(values)
	}
	return nil
}
