package stepup

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// Route is what one directive configures. A Route is shared by its requests and
// not changed after its first use.
type Route struct {
	// Name names the route in the journal and in events. Optional.
	Name string

	// MaxBody is how long a body may be, in bytes. Default: 64 KiB.
	MaxBody int64

	// BodyTimeout is how long a body may take to arrive. Default: 30 s.
	BodyTimeout time.Duration

	// Hold is how long the customer has for an answer. Default: 120 s.
	Hold time.Duration

	// Mode is how callers wait. Default: ModeHold.
	Mode Mode

	// MatchCode has caller and customer compare two random digits, in the modes
	// redirect and async: as the extension parameter match_code where the provider
	// takes it, otherwise at the beginning of the binding message.
	MatchCode bool

	// Retention is how long a kept answer can be read again by its caller. It
	// bounds how long an Idempotency-Key is remembered, too. Default: 24 h.
	Retention time.Duration

	// MaxResult is how long the body of an answer may be to be kept, in bytes. Of
	// longer ones only the status is known afterwards. Default: 1 MiB.
	MaxResult int64

	// Detach returns what a request needs that goes on after Serve has returned: a
	// copy of it that shares nothing that the server still uses, the route for that
	// copy, and the way to the handler behind the gate for it. It is called in the
	// goroutine of Serve. Default: the request, the route and the handler as they
	// are.
	Detach func() (*http.Request, *Route, Next)

	// Address returns the path and query by which the caller knows a request that was
	// rewritten on its way here. Default: those of the request.
	Address func(*http.Request) string

	// Origin is the adapter's description of how a kept request gets back to its
	// route after a restart, given to Config.Reenter then. Optional.
	Origin func() (json.RawMessage, error)

	// UpstreamTimeout is how long the upstream has until its answer begins, and
	// again, after a caller has left, until it ends. Default: 60 s.
	UpstreamTimeout time.Duration

	// Scope is what the access token is asked for, beside openid.
	Scope []string

	// ACR lists the authentication context classes that will do. The provider is
	// asked for them, and its answer must have one of them. Empty takes any.
	ACR []string

	// FreshAuth demands of the provider's answer that the customer was
	// authenticated for this request: auth_time is not before it, or before it by
	// AuthAge at most. AuthTimeOptional takes an answer without auth_time as well.
	FreshAuth        bool
	AuthAge          time.Duration
	AuthTimeOptional bool

	// MessageLimit is how long a binding message may be, in characters, with the
	// part of the digest. Default: 128.
	MessageLimit int

	// MessageJoiner stands between the message and the part of the digest, for
	// providers that take no spaces. Default: a space.
	MessageJoiner string

	// DigestHeaders names headers, beside those that say what a body is, to which
	// the upstream pays heed. The approval is bound to them too.
	DigestHeaders []string

	// Namespaces are the XML namespaces of prefixes that paths into an XML body may
	// use. Optional.
	Namespaces map[string]string

	// Caller names who sends the request, before its body is read, so that what
	// waits for one caller's bodies is limited, too. Optional; it must give what
	// Ask.Caller gives.
	Caller func(ctx context.Context) string

	// When reports whether the request needs an approval. One that needs none goes
	// to the handler behind the gate as it came. Of its errors, a *Refusal is the
	// answer; any other one is transaction-not-readable. Default: every request
	// does.
	When func(ctx context.Context, s *Snapshot, d *Document) (bool, error)

	// Prompts bound how often somebody may be asked. Default: no bound.
	Prompts []PromptLimit

	// PromptScope names the provider whose customers these are: routes with the same
	// one, and the same store, count prompts and denials together. Default: Name.
	PromptScope string

	// BackOff makes a caller wait who has been denied by a customer before it may
	// ask this customer again: one minute after the first denial, twice as long
	// after each further one, up to an hour.
	BackOff bool

	// ReportOnly tries the route out: what would be asked or refused is told to
	// Config.Observe as EventReported, and the request goes on as it came.
	ReportOnly bool

	// Ask says who is asked and what they are shown. Required. It may take
	// nothing from the request but what the snapshot and the document return, and
	// what whoever authenticated the caller has said. Of its errors, a *Refusal is
	// the answer; any other one is transaction-not-readable.
	Ask func(ctx context.Context, s *Snapshot, d *Document) (Ask, error)

	// OnChallenge lets requests go on as they came, with the caller's own
	// credentials, and asks the customer only if the upstream answers 401 with the
	// error insufficient_user_authentication (RFC 9470): for the authentication that
	// it demands. The request is then sent once more. Default: every request needs
	// an approval before it is sent.
	OnChallenge bool

	// Reuse is how long after an approval it covers all later requests of the same
	// caller and customer on this route; see Gate.Covered. Default: it covers its
	// request alone.
	Reuse time.Duration

	// ReuseKey tells this route from others of the gate: an approval covers
	// requests of routes with its ReuseKey.
	ReuseKey string

	// TokenHeader is the header with the customer's access token, as "Bearer" (or
	// "DPoP") and the token in Authorization, and the token alone in any other. Default:
	// Authorization.
	TokenHeader string

	// Proves says that the provider binds access tokens to a key of the gate's, so
	// that the header DPoP is the gate's, too, whatever TokenHeader is.
	Proves bool

	// ProofBase is the URL by which the upstream knows itself, without query, for the
	// proofs of tokens that are bound to a key (htu of RFC 9449 section 4.2); the path
	// of the request follows it. Default: scheme and host of the request.
	ProofBase string

	// NoToken leaves the access token out, and its proof. Authorization is then the
	// caller's own and goes on as it came.
	NoToken bool

	// SetHeaders sets further headers on the request to the upstream, of those
	// named in Headers. Optional.
	SetHeaders func(http.Header, *Approval)

	// Headers names what SetHeaders may set. Callers cannot send them, in any
	// spelling. TokenHeader belongs to them by itself.
	Headers []string

	// NotSent reports of an error of the handler behind the gate that no request
	// has gone out, for handlers whose errors say so. Dial errors are known
	// without it. Optional.
	NotSent func(error) bool

	// Unhandled reports, with the context of the request, that no handler behind
	// the gate has taken it, for servers that then return without an answer or an
	// error. The caller must not take that for success. Optional.
	Unhandled func(context.Context) bool
}

// Ask is the question to a customer.
type Ask struct {
	// Customer is who is asked. Empty is refused.
	Customer string

	// LoginHint, LoginHintToken and IDTokenHint tell the provider who the customer
	// is where their name alone does not. One of them at most may be set. Default:
	// the customer's name as the login hint.
	LoginHint, LoginHintToken, IDTokenHint string

	// UserCode is the customer's code for providers that demand one. Optional.
	UserCode string

	// Parameters are further parameters of the authentication request; see
	// ciba.Request.Extra. Optional.
	Parameters url.Values

	// Subject is the sub that the answer must have, where it is known. Claims are
	// further claims of the ID Token that must have these values, for example
	// preferred_username. Optional.
	Subject string
	Claims  map[string]string

	// Caller is who sends the request, as whoever authenticates callers has
	// found. The approval is bound to it, and limits count by it.
	Caller string

	// Anonymous says that nobody has authenticated the caller, so that Caller is no
	// more than where the request came from. A browser then finds its waiting page
	// by its cookie alone.
	Anonymous bool

	// Message is the text of the binding message.
	Message string

	// Details is an object of authorization_details, with its type. It goes to
	// providers that know the type. Default: http_request with method, host and
	// target.
	Details json.RawMessage
}

// Approval is what the customer has approved, for SetHeaders.
type Approval struct {
	// Transaction is a copy of the transaction.
	Transaction *Transaction

	// Claims are those of the ID Token, checked.
	Claims ciba.IDClaims
}

const (
	defaultMaxBody         = 64 << 10
	defaultBodyTimeout     = 30 * time.Second
	defaultHold            = 120 * time.Second
	defaultUpstreamTimeout = 60 * time.Second
	defaultTokenHeader     = "Authorization"
	defaultKeep            = 24 * time.Hour
	defaultMaxResult       = 1 << 20
)

// withDefaults returns a copy with all defaults filled in.
func (rt *Route) withDefaults() *Route {
	c := *rt
	if c.MaxBody <= 0 {
		c.MaxBody = defaultMaxBody
	}
	if c.BodyTimeout <= 0 {
		c.BodyTimeout = defaultBodyTimeout
	}
	if c.Hold <= 0 {
		c.Hold = defaultHold
	}
	if c.UpstreamTimeout <= 0 {
		c.UpstreamTimeout = defaultUpstreamTimeout
	}
	if c.Mode == "" {
		c.Mode = ModeHold
	}
	if c.Retention <= 0 {
		c.Retention = defaultKeep
	}
	if c.MaxResult <= 0 {
		c.MaxResult = defaultMaxResult
	}
	if c.MessageLimit <= 0 {
		c.MessageLimit = defaultMessageLimit
	}
	if c.MessageJoiner == "" {
		c.MessageJoiner = " "
	}
	if c.TokenHeader == "" {
		c.TokenHeader = defaultTokenHeader
	}
	return &c
}

// OwnHeaders returns the names of all headers that the gate may set on this
// route, for Clean.
func (rt *Route) OwnHeaders() []string {
	own := slices.Clone(rt.Headers)
	switch {
	case rt.NoToken:
	case rt.TokenHeader == "" || http.CanonicalHeaderKey(rt.TokenHeader) == defaultTokenHeader:
		// The caller's proof goes with its token.
		own = append(own, defaultTokenHeader, proofHeader)
	case rt.Proves:
		own = append(own, rt.TokenHeader, proofHeader)
	default:
		own = append(own, rt.TokenHeader)
	}
	return own
}
