package caddyciba

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// Defaults and bounds of a gate's settings.
const (
	defaultCustomer = "{http.auth.user.id}"
	defaultSubject  = "sub"
	defaultHold     = 2 * time.Minute
	maxHold         = time.Hour
	defaultMaxBody  = 64 << 10
	maxMaxBody      = 64 << 20
	defaultToken    = "Authorization"
	off             = "off"
	openidScope     = "openid"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler holds each request until the customer whom it concerns has approved
// it on their phone, by OpenID Connect CIBA, and then passes it on once, byte
// for byte as it was approved, with the customer's access token. Whatever
// happens otherwise, the request is not passed on.
//
// The request is read whole before the customer is asked. It is passed on
// under the customer's access token; headers of the same meaning that the
// caller has sent are removed first. Once it is on its way to the upstream it
// is neither repeated nor given up when the caller hangs up.
//
// Refusals run the server's error routes. Where there are none, or they leave
// the answer empty, the answer is a problem document (RFC 9457).
//
// This handler sets the following placeholders, all on refusals, the transaction
// and the claims on approved requests:
//
// Placeholder | Description
// ------------|-------------
// `{http.ciba.error}` | What went wrong, the last part of the problem's type, such as `approval-denied`
// `{http.ciba.title}` | The problem's title
// `{http.ciba.detail}` | The problem's detail
// `{http.ciba.state}` | The state of the transaction, such as `denied`
// `{http.ciba.transaction}` | The transaction's identifier
// `{http.ciba.retry_after}` | Seconds after which trying again makes sense, or 0
// `{ciba.claims.NAME}` | A claim of the customer's ID Token
//
// In `customer` and `message`, `{ciba.body.PATH}` stands for a field of the
// request's body, which can be JSON, XML, a form or multipart form data: names and
// indexes, joined by dots, as in `{ciba.body.creditor.name}`. A header or query
// parameter stands there only if the request has it once and in one spelling.
type Handler struct {
	// Provider is the name of a provider in the `ciba` app. Either this or an
	// issuer is required.
	Provider string `json:"provider,omitempty"`

	// Issuer is the issuer URL of the provider. If exactly one provider in the
	// `ciba` app has this issuer, its client is used, otherwise the client that
	// the environment variables `CIBA_CLIENT_ID` and `CIBA_CLIENT_SECRET`
	// describe.
	Issuer string `json:"issuer,omitempty"`

	// Customer says who has to approve, as a login hint that the provider
	// understands. Placeholders are filled in for each request; a request for
	// which it is empty is refused. Default: `{http.auth.user.id}`.
	Customer string `json:"customer,omitempty"`

	// LoginHint tells the provider who the customer is, where it wants another
	// form than the customer's name, as `user:{http.auth.user.id}`. Placeholders
	// are filled in for each request. Default: the customer.
	LoginHint string `json:"login_hint,omitempty"`

	// LoginHintToken is a token that tells the provider who the customer is, in
	// place of a login hint, such as `{http.request.header.X-Login-Hint-Token}`.
	// Placeholders are filled in for each request. Default: none.
	LoginHintToken string `json:"login_hint_token,omitempty"`

	// IDTokenHint is an ID Token that the provider has issued to the gateway's
	// client for the customer, in place of a login hint. Placeholders are filled
	// in for each request. Default: none.
	IDTokenHint string `json:"id_token_hint,omitempty"`

	// UserCode is a code of the customer's that some providers demand, such as
	// `{http.request.header.X-User-Code}`. Placeholders are filled in for each
	// request; if the result is empty, no code is sent. Default: none.
	UserCode string `json:"user_code,omitempty"`

	// Resource are the URIs of the APIs for which the access token is to be good
	// (RFC 8707). Default: none.
	Resource []string `json:"resource,omitempty"`

	// Parameters are further parameters of the authentication request.
	// Placeholders are filled in for each request; one for which a placeholder is
	// unknown or empty is refused. Default: none, beside those of the provider.
	Parameters map[string]string `json:"parameters,omitempty"`

	// Subject names the claim of the ID Token that must be equal to the customer,
	// for example `preferred_username` where the provider's subjects are opaque.
	// A request whose token is about somebody else is refused. With `off` it is
	// left to the provider that the customer it asked is the one who approved.
	// Default: `sub`.
	Subject string `json:"subject,omitempty"`

	// Message is the binding message: what the customer is shown and approves.
	// Placeholders are filled in for each request; a request for which one of
	// them is unknown or empty is refused, and so is one whose message has
	// characters or a length that the customer may not see as they are.
	// Default: method, host and path of the request.
	Message string `json:"message,omitempty"`

	// Scope is what the access token is to be good for. `openid` is added when
	// it is missing. Default: `openid`.
	Scope []string `json:"scope,omitempty"`

	// ACR lists acceptable authentication context classes, the preferred one
	// first. The request is refused if the customer did not authenticate in
	// one of these ways. Default: any.
	ACR []string `json:"acr,omitempty"`

	// AuthAge is how long before a request the customer may have authenticated to
	// approve it, by the `auth_time` of the ID Token. A token that tells of an
	// earlier authentication is refused; clocks may differ by 10 seconds. If this
	// or `acr` is set, a token without `auth_time` is refused, too. A negative
	// value takes any token. Default: 0, authenticated for this request, where the
	// provider says when.
	AuthAge caddy.Duration `json:"auth_age,omitempty"`

	// Hold is how long a request waits for approval. It must be shorter than
	// the server's write timeout, if that is set, because the answer could not
	// be written after it. Default: 2m. Maximum: 1h.
	Hold caddy.Duration `json:"hold,omitempty"`

	// OnChallenge passes requests on as they came, with the caller's own
	// `Authorization`, and has the customer approve only those that the upstream
	// answers with 401 and the error `insufficient_user_authentication` (RFC 9470).
	// The provider is asked for the `acr_values` and `max_age` of that challenge, and
	// the request is sent once more, with the customer's token. The upstream's
	// answer to that is the caller's, whatever it is. If `acr` is set, too, only
	// classes that it has are asked for. Default: false, every request needs an
	// approval before it is passed on.
	OnChallenge bool `json:"on_challenge,omitempty"`

	// Reuse is how long after an approval it covers all later requests of the same
	// caller and customer on this route, which are then passed on with its token,
	// without a question and as ordinary requests. It needs callers who are
	// authenticated, and a customer who is known without the request. The message
	// cannot show fields of a body, as it would be about one request. Bodies of
	// covered requests are not read, so `when` cannot read them either; forms alone
	// are, up to `max_body`, for a field that names another method. Approvals
	// are remembered by each node for itself, and not across restarts; none is
	// used longer than its access token is good. Default: an approval covers one
	// request. Maximum: 24h.
	Reuse caddy.Duration `json:"reuse,omitempty"`

	// MaxBody is the size in bytes above which a request's body is refused
	// with status 413 before anybody is asked. Default: 65536. Maximum:
	// 67108864.
	MaxBody int64 `json:"max_body,omitempty"`

	// Namespaces are the XML namespaces of prefixes that `{ciba.body.PATH}` may use,
	// as in `{ciba.body.soap:Envelope.soap:Body.pay:Transfer.pay:Amount}`. A name
	// without prefix stands for an element of any namespace. Default: none.
	Namespaces map[string]string `json:"namespaces,omitempty"`

	// When is a condition in the Common Expression Language (CEL): only requests for
	// which it is true need an approval, such as
	// `{ciba.body.amount} > 1000 || {ciba.body.currency} != "EUR"`. Others are passed
	// on as they came. Placeholders stand for texts, `method`, `host`, `path` and
	// `caller` for texts, too; `<`, `<=`, `>` and `>=` compare as decimal numbers. If
	// a field that it needs is missing or is not a number where one is compared, an
	// approval is needed; a body that cannot be read is refused. Default: every
	// request needs one.
	When string `json:"when,omitempty"`

	// Details are authorization details (RFC 9396) for providers that know their
	// type: what is to be approved, field by field. Default: type `http_request`
	// with `method`, `host` and `target`.
	Details *Details `json:"details,omitempty"`

	// Limits bound how often customers are asked, counted in the store for all
	// processes that share it. Above a limit, requests are refused with status 429
	// before anybody is asked. Limits per customer replace the default ones per
	// customer, and limits per caller those per caller. Default: 5 per customer at
	// one time and 30 in 10m, and 300 per caller in 1m.
	Limits []Limit `json:"limits,omitempty"`

	// NoLimits takes away all limits on prompts, also the time that a caller has to
	// wait after a customer has denied: 1m after the first denial, twice as long
	// after each further one, up to 1h, until the customer approves. Default: false.
	NoLimits bool `json:"no_limits,omitempty"`

	// ReportOnly tries the gate out: for each request it logs what would be asked, or
	// why the request would be refused, asks nobody, and passes the request on as it
	// came. Only headers that nobody but the gate may set are removed. The log has
	// the text of the message. Default: false.
	ReportOnly bool `json:"report_only,omitempty"`

	// Token is the header in which the upstream gets the customer's access
	// token, or `off` if it shall not get it. In `Authorization` the token
	// follows the word `Bearer`, or `DPoP` if the provider binds tokens to a key; in any
	// other header it stands alone. Default:
	// `Authorization`.
	Token string `json:"token,omitempty"`

	// DPoPHTU is the URL by which the upstream knows itself, without query, for the
	// proofs of a provider with `sender_constraint` `dpop`: the path of the request, as
	// it is when it comes to this handler, follows it. It is needed where the upstream
	// does not see the scheme and host that the caller has used. It cannot contain
	// placeholders. Default: scheme and host of the request.
	DPoPHTU string `json:"dpop_htu,omitempty"`

	// HeaderUp are further headers for the upstream, with their values. In
	// values, `{ciba.claims.NAME}` stands for a claim of the ID Token and
	// `{ciba.transaction}` for the transaction's identifier; a header whose
	// value would be incomplete is left out. Callers cannot send these headers
	// themselves. Default: none.
	HeaderUp map[string]string `json:"header_up,omitempty"`

	// Mode is how callers wait: `hold` on their connection; `redirect`, by a waiting
	// page, for browsers; `async`, by a `202` with the address of a status, after
	// which the gate sends the request by itself and keeps the answer; or `auto`,
	// which takes `async` for callers that ask for it by `Prefer: respond-async`,
	// `redirect` for browsers that go to a page, and `hold` for all others. Default:
	// `auto`.
	Mode string `json:"mode,omitempty"`

	// MatchCode has the customer compare a number of two digits: the waiting page and
	// the status show it, and the provider asks the customer for it if it can
	// (`match_code_parameter_supported` in its metadata). Otherwise it leads the
	// binding message. It has no effect on callers that are held. Default: false.
	MatchCode bool `json:"match_code,omitempty"`

	// Retention is how long the upstream's answer can be read again by its caller,
	// at the status or with the same `Idempotency-Key`. Default: 24h. Maximum: 720h.
	Retention caddy.Duration `json:"retention,omitempty"`

	// MaxResult is the size in bytes above which an answer's body is not kept for
	// that. Callers that are held and browsers get longer answers all the same, once.
	// Default: 1048576. Maximum: 33554432.
	MaxResult int64 `json:"max_result,omitempty"`

	logger *zap.Logger
	app    *App
	pooled *pooledGate
	route  *stepup.Route

	// own are the headers that nobody but the gate may set, on any path.
	own []string

	// customer is known without the request where approvals cover later ones.
	customer *template
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ciba",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision fills in defaults, resolves secrets and takes a reference to the
// gate. It neither uses the network nor opens the store.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.setDefaults()
	err := h.check(ctx)
	if err != nil {
		return err
	}
	h.own = h.ownHeaders()
	h.route, err = h.buildRoute()
	if err != nil {
		return err
	}

	h.app, err = appOf(ctx)
	if err != nil {
		return err
	}
	provider, err := h.app.provider(h.Provider, h.Issuer)
	if err != nil {
		return err
	}
	h.route.MessageLimit, h.route.MessageJoiner = provider.BindingMessageMax, provider.BindingMessageJoiner
	h.route.PromptScope = provider.Issuer
	err = h.applyProofs(provider)
	if err != nil {
		return err
	}
	h.pooled, err = h.app.acquire(ctx, provider)
	if err != nil {
		return err
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server != nil {
		h.app.guards(h.pooled.key, server)
	}
	return nil
}

func (h *Handler) setDefaults() {
	if h.Customer == "" {
		h.Customer = defaultCustomer
	}
	if h.Subject == "" {
		h.Subject = defaultSubject
	}
	if h.Hold == 0 {
		h.Hold = caddy.Duration(defaultHold)
	}
	if h.MaxBody == 0 {
		h.MaxBody = defaultMaxBody
	}
	if h.Token == "" {
		h.Token = defaultToken
	}
	if !slices.Contains(h.Scope, openidScope) {
		h.Scope = append([]string{openidScope}, h.Scope...)
	}
}

// Cleanup drops the module's reference to the gate. Requests that are still
// held have their own.
func (h *Handler) Cleanup() error {
	if h.pooled == nil {
		return nil
	}
	return h.pooled.release()
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Handler)(nil)
	_ caddy.CleanerUpper = (*Handler)(nil)
)
