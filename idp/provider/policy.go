package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Policy decides, before a user is asked, whether a request is let through: by the
// amount, the hour, the client, the risk that request_context speaks of. It is asked
// when everything else about the request is in order and the user is known, and before
// anything is written down (CIBA Core 1.0 section 13). Methods must be safe for
// concurrent use, and should be quick: the client waits for the answer.
//
// With Config.MaskUnknownUsers it is also asked about decoys, who have nothing but an
// ID. A policy that looks at the user tells clients who is one.
type Policy interface {
	// Check returns nil to let the request through, and a *Refusal to have it
	// refused with the words of that. Any other error means that the policy could
	// not decide, and the request is refused as temporarily unavailable. The
	// request must not be changed.
	Check(ctx context.Context, r *PolicyRequest) error
}

// PolicyRequest is what a [Policy] decides about.
type PolicyRequest struct {
	// Client is who asks, and User who is to be asked, without the hashes of
	// passwords and codes.
	Client ClientInfo
	User   *User

	// Scopes, Resources, ACRValues, BindingMessage and AuthorizationDetails are what
	// is asked for; ACRValues are those that can be reached. AuthorizationDetails
	// and Context are JSON, or nil: an array of objects whose types and members were
	// checked, and the object of the parameter request_context.
	Scopes               []string
	Resources            []string
	ACRValues            []string
	BindingMessage       string
	AuthorizationDetails json.RawMessage
	Context              json.RawMessage

	// Lifetime is for how long the request will wait.
	Lifetime time.Duration

	// Signed says that the parameters were signed by the client.
	Signed bool

	// Source is the address that the request comes from, as Config.ClientIP says,
	// or empty.
	Source string

	// Received is when the request came.
	Received time.Time

	// Parameters are those that the provider itself does not know, by name.
	Parameters map[string]string
}

// Refusal is why a [Policy] or a [HintResolver] does not let a request through, in the
// words that the client gets to see.
type Refusal struct {
	// Code is one of the error codes of CIBA Core 1.0 section 13 for a request,
	// of RFC 8707 or RFC 9396. Default: access_denied.
	Code string

	// Description tells a developer why, in ASCII without quotes and backslashes.
	// Others are left out. Default: none.
	Description string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Code + ": " + r.Description }

// refusalStatus has the codes that a refusal may have, with their status.
var refusalStatus = map[string]int{
	codeAccessDenied:          http.StatusForbidden,
	codeInvalidRequest:        http.StatusBadRequest,
	codeInvalidScope:          http.StatusBadRequest,
	codeInvalidTarget:         http.StatusBadRequest,
	codeInvalidDetails:        http.StatusBadRequest,
	codeInvalidBindingMessage: http.StatusBadRequest,
	codeUnauthorizedClient:    http.StatusBadRequest,
	codeUnknownUserID:         http.StatusBadRequest,
	codeExpiredLoginHintToken: http.StatusBadRequest,
}

// RefusalCodes returns the error codes that a [Refusal] may have, in order.
func RefusalCodes() []string { return slices.Sorted(maps.Keys(refusalStatus)) }

// answer turns the refusal into what the client gets.
func (r *Refusal) answer() error {
	code := r.Code
	if code == "" {
		code = codeAccessDenied
	}
	status, known := refusalStatus[code]
	if !known {
		return fmt.Errorf("a refusal has the unknown code %q", r.Code)
	}
	e := &oauthError{status: status, code: code, cause: r}
	if isDescription(r.Description) {
		e.description = r.Description
	}
	return e
}

// isDescription reports whether s can be an error_description (RFC 6749 section 5.2).
func isDescription(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return true
}

// extensionError turns the error of an extension into an answer.
func extensionError(what string, err error) error {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal.answer()
	}
	return unavailable(fmt.Errorf("%s: %w", what, err))
}

// checkPolicies asks all policies, in their order.
func (p *Provider) checkPolicies(r *http.Request, c *client, user *User, f *form, req *authenticationRequest) error {
	if len(p.cfg.Policies) == 0 {
		return nil
	}
	asked := &PolicyRequest{
		Client: p.clientInfo(c.ID), User: user.withoutHashes(),
		Scopes: req.scope, Resources: req.resources, ACRValues: req.acrValues, BindingMessage: req.bindingMessage,
		AuthorizationDetails: req.details, Context: req.context, Lifetime: req.lifetime, Signed: f.signed,
		Received: req.received, Parameters: f.unknown(),
	}
	if p.cfg.ClientIP != nil {
		asked.Source = p.cfg.ClientIP(r)
	}
	for _, policy := range p.cfg.Policies {
		err := policy.Check(r.Context(), asked)
		if err != nil {
			return extensionError("asking policy", err)
		}
	}
	return nil
}

// withoutHashes returns a copy of the user that nothing can be guessed with.
func (u *User) withoutHashes() *User {
	clean := *u
	clean.PasswordHash, clean.UserCodeHash = "", ""
	return &clean
}

// unknown returns the parameters that this package does not know.
func (f *form) unknown() map[string]string {
	unknown := make(map[string]string)
	for _, p := range f.params {
		if p.value != "" && !slices.Contains(authenticationParameters, p.name) && !slices.Contains(otherParameters, p.name) {
			unknown[p.name] = p.value
		}
	}
	return unknown
}

// otherParameters belong to the request, or to its signed form, and not to what is
// asked for.
var otherParameters = []string{
	"client_id", "client_secret", "client_assertion", "client_assertion_type", "request",
	"iss", "aud", "exp", "iat", "nbf", "jti",
}
