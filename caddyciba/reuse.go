package caddyciba

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// maxReuse is the longest that an approval can cover later requests.
const maxReuse = 24 * time.Hour

// reuseSources begin the placeholders by which a customer is known without the
// request, so that a caller cannot change who it is by what it sends.
var reuseSources = []string{"http.auth.", "http.vars.", "http.request.tls."}

var (
	errReuseDetails = errors.New("reuse and details exclude each other: details are about one request")
	errReuseMessage = errors.New("reuse: the message must not show fields of a body, as the approval covers requests with others")
	errReuseWhen    = errors.New("reuse and a condition about fields of the body exclude each other: the body of a request that an approval covers is not read")
	errReuseReport  = errors.New("reuse and report_only exclude each other")
)

// applyReuse adds to a route that its approvals cover later requests.
func (h *Handler) applyReuse(route *stepup.Route, customer, message *template) error {
	if h.Reuse == 0 {
		return nil
	}
	switch {
	case h.Reuse < 0 || time.Duration(h.Reuse) > maxReuse:
		return fmt.Errorf("reuse must be positive and at most %s", maxReuse)
	case h.Details != nil:
		return errReuseDetails
	case h.ReportOnly:
		return errReuseReport
	case message.needsBody():
		return errReuseMessage
	}
	for _, part := range customer.parts {
		if part.key != "" && !hasOnePrefix(part.key, reuseSources) {
			return fmt.Errorf("reuse: the customer must be known without the request, by {http.auth.…}, {http.vars.…} or {http.request.tls.…}, not by {%s}", part.key)
		}
	}
	// Every setting is part of the key: an approval was given for the scope, the
	// message and the rest of just this route.
	key, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encoding settings: %w", err)
	}
	route.Reuse = time.Duration(h.Reuse)
	sum := sha256.Sum256(key)
	route.ReuseKey = string(sum[:])
	h.customer = customer
	return nil
}

func hasOnePrefix(key string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// extend makes the question about more than one request, also where the operator
// has not said what it is about.
func (h *Handler) extend(question *stepup.Ask, s *stepup.Snapshot) error {
	if h.Message == "" {
		question.Message = fmt.Sprintf("Requests to %s, for %s", s.Host(), spoken(time.Duration(h.Reuse)))
	}
	var err error
	question.Details, err = json.Marshal(map[string]string{
		"type": "http_request", "method": "*", "host": s.Host(), "target": "*",
	})
	if err != nil {
		return fmt.Errorf("encoding authorization details: %w", err)
	}
	return nil
}

// spoken writes a duration for people.
func spoken(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return count(int(d/time.Hour), "hour")
	case d%time.Minute == 0:
		return count(int(d/time.Minute), "minute")
	default:
		return d.String()
	}
}

func count(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// serveCovered passes a request on that an earlier approval covers, and reports
// whether it has.
func (h *Handler) serveCovered(g *gate, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (bool, error) {
	if h.route.Reuse == 0 {
		return false, nil
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return false, nil
	}
	caller := authenticated(repl)
	if caller == "" {
		return false, nil
	}
	customer, err := h.customer.fill(noBody, func(key string) (string, bool, error) {
		text, known := repl.GetString(key)
		return text, known, nil
	})
	if err != nil {
		return false, nil // the engine says what is wrong
	}
	out, approval, err := g.engine.Covered(w, r, h.route, caller, customer)
	refusal, refused := asRefusal(err)
	switch {
	case refused:
		h.logCause(refusal)
		return true, refuse(w, r, refusal)
	case err != nil || out == nil:
		return false, err
	}
	announce(r, approval)
	answer := &statusWriter{ResponseWriter: w}
	err = h.nextFor(r, next)(answer, out)
	g.engine.Learn(h.route, r, answer.Header())
	if answer.status == http.StatusUnauthorized && !stepup.WantsNonce(answer.Header()) {
		// The upstream does not take the token any more: ask again next time.
		g.engine.Forget(h.route, caller, customer)
	}
	return true, err
}

// noBody answers for fields of a body, of which templates of this kind have none.
func noBody(string) (string, error) { return "", errUnknownPlaceholder }

// authenticated names the caller if anything but the address is known, as callerOf
// does.
func authenticated(repl *caddy.Replacer) string {
	user, _ := repl.GetString(userKey)
	if user != "" {
		return user
	}
	certificate, _ := repl.GetString(certificateKey)
	if certificate != "" {
		return certificatePrefix + certificate
	}
	return ""
}

// reuseArg reads the option. "off" is what it is without.
func reuseArg(d *caddyfile.Dispenser, field *caddy.Duration) error {
	err := durationOrOff(d, field)
	if err != nil {
		return err
	}
	if *field < 0 {
		*field = 0
	}
	if time.Duration(*field) > maxReuse {
		return d.Errf("reuse must be at most %s", maxReuse)
	}
	return nil
}
