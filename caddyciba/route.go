package caddyciba

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// buildRoute translates the settings for the engine, once.
func (h *Handler) buildRoute() (*stepup.Route, error) {
	customer, err := parseTemplate(h.Customer)
	if err != nil {
		return nil, fmt.Errorf("customer: %w", err)
	}
	message, err := parseTemplate(h.Message)
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	hints, err := h.hintTemplates()
	if err != nil {
		return nil, err
	}
	details, err := h.detailsTemplate()
	if err != nil {
		return nil, err
	}
	headers, err := h.headerTemplates()
	if err != nil {
		return nil, err
	}
	route := &stepup.Route{
		Name:       cmp.Or(h.Provider, h.Issuer),
		MaxBody:    h.MaxBody,
		Hold:       time.Duration(h.Hold),
		Scope:      h.Scope,
		ACR:        h.ACR,
		NoToken:    h.Token == off,
		SetHeaders: headers.set,
		Headers:    headers.names(),
		Namespaces: h.Namespaces,

		OnChallenge: h.OnChallenge,
		Mode:        h.mode(),
		MatchCode:   h.MatchCode,
		Retention:   time.Duration(h.Retention),
		MaxResult:   h.MaxResult,
		Ask: func(ctx context.Context, s *stepup.Snapshot, d *stepup.Document) (stepup.Ask, error) {
			question, err := ask(ctx, customer, message, s, d)
			if err != nil {
				return stepup.Ask{}, err
			}
			err = hints.fill(ctx, &question, s, d)
			if err != nil {
				return stepup.Ask{}, err
			}
			question.Details, err = details.fill(ctx, s, d)
			if err != nil {
				return stepup.Ask{}, err
			}
			if h.Reuse > 0 {
				err = h.extend(&question, s)
				if err != nil {
					return stepup.Ask{}, err
				}
			}
			switch h.Subject {
			case off:
			case defaultSubject:
				question.Subject = question.Customer
			default:
				question.Claims = map[string]string{h.Subject: question.Customer}
			}
			return question, nil
		},
	}
	if h.AuthAge >= 0 {
		route.FreshAuth = true
		route.AuthAge = time.Duration(h.AuthAge)
		route.AuthTimeOptional = h.AuthAge == 0 && len(h.ACR) == 0
	}
	if !route.NoToken {
		route.TokenHeader = h.Token
	}
	err = h.applyReuse(route, customer, message)
	if err != nil {
		return nil, err
	}
	err = h.applyPolicy(route)
	if err != nil {
		return nil, err
	}
	return route, nil
}

// userKey is the placeholder of the user whom the server has authenticated.
const userKey = "http.auth.user.id"

var errNoReplacer = errors.New("request has no replacer")

// ask fills in who has to approve and what they are shown.
func ask(ctx context.Context, customer, message *template, s *stepup.Snapshot, d *stepup.Document) (stepup.Ask, error) {
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return stepup.Ask{}, errNoReplacer
	}
	user, _ := repl.GetString(userKey)
	lookup := strictly(s, repl.GetString)
	who, err := customer.fill(d.Lookup, lookup)
	if nobody(err) {
		// The engine refuses a request that concerns nobody.
		return stepup.Ask{Caller: user}, nil
	}
	caller := callerOf(ctx, repl, user)
	anonymous := strings.HasPrefix(caller, addressPrefix) && user == ""
	if errors.Is(err, errSeveral) {
		// Two customers are nobody, too (threats G12).
		return stepup.Ask{Caller: caller}, nil
	}
	if err != nil {
		return stepup.Ask{}, fmt.Errorf("customer: %w", err)
	}
	if message.source == "" {
		return stepup.Ask{Customer: who, Caller: caller, Anonymous: anonymous, Message: plainMessage(s)}, nil
	}
	what, err := message.fill(d.Lookup, lookup)
	if err != nil {
		return stepup.Ask{}, fmt.Errorf("message: %w", err)
	}
	return stepup.Ask{Customer: who, Caller: caller, Anonymous: anonymous, Message: what}, nil
}

// certificateKey is the placeholder of the caller's certificate, and
// certificatePrefix begins the name of a caller who is known by it.
const (
	certificateKey    = "http.request.tls.client.fingerprint"
	certificatePrefix = "certificate "
)

// addressPrefix begins the name of a caller of whom nothing is known but the
// address.
const addressPrefix = "address "

// callerOf names who sends a request: the user whom the server has authenticated,
// or else the client certificate, or else the address that the request came
// from. The approval is bound to it, and limits count by it.
func callerOf(ctx context.Context, repl *caddy.Replacer, user string) string {
	if user != "" {
		return user
	}
	certificate, _ := repl.GetString(certificateKey)
	if certificate != "" {
		return certificatePrefix + certificate
	}
	address, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	if address != "" {
		return addressPrefix + network(address)
	}
	return ""
}

// network is what an address counts for: an IPv6 subscriber has a whole /64.
func network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}

// plainMessage says what a request is about where the operator has not: method,
// host and path. The engine refuses one that is too long to be shown in full. The
// query is left out, because some APIs keep secrets there; the approval is bound
// to it all the same.
func plainMessage(s *stepup.Snapshot) string {
	path, _, _ := strings.Cut(s.Target(), "?")
	return s.Method() + " " + s.Host() + path
}

// nobody reports whether a customer is missing because the server has not said
// who they are. A field that is missing in the body is another matter: it makes
// the request unreadable.
func nobody(err error) bool {
	p, ok := errors.AsType[*placeholderError](err)
	if !ok || strings.HasPrefix(p.key, bodyPrefix) {
		return false
	}
	return errors.Is(p, errEmptyPlaceholder) || errors.Is(p, errUnknownPlaceholder)
}
