package ciba

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Severity says how bad a [Finding] is.
type Severity string

// The severities, the worst one last.
const (
	// SeverityOK is what is as it should be.
	SeverityOK Severity = "ok"

	// SeverityWarning is what may work and deserves a look.
	SeverityWarning Severity = "warning"

	// SeverityUnreachable is what cannot be said now, because the provider does not
	// answer, or not sensibly.
	SeverityUnreachable Severity = "unreachable"

	// SeverityFailure is what keeps requests from being approved until somebody
	// changes a setting, here or at the provider.
	SeverityFailure Severity = "failure"
)

// Finding is one thing that Diagnose has looked at. It has no secret.
type Finding struct {
	// Check names what was looked at: discovery, keys, id_token, grant, delivery,
	// authentication, signed_requests, client, clock.
	Check string `json:"check"`

	// Severity is the verdict.
	Severity Severity `json:"severity"`

	// Detail says in a sentence what was found.
	Detail string `json:"detail"`
}

// Diagnose compares the configuration with the provider as it is now, without
// asking a customer: what the provider publishes, whether its clock agrees with
// ours, and whether it takes us for its client. For the last two it makes a token
// request for an auth_req_id that does not exist.
//
// Nothing comes from a cache, and nothing that it learns is kept.
func (c *Client) Diagnose(ctx context.Context) []Finding {
	d := &diagnosis{c: c}
	md, err := c.fetchMetadata(ctx)
	if err != nil {
		d.failed("discovery", "the discovery document cannot be used", err)
		return d.findings
	}
	d.ok("discovery", "%s publishes itself", c.issuer)
	_, err = c.fetchKeysFrom(ctx, md)
	if err != nil {
		d.failed("keys", "the keys cannot be used", err)
	} else {
		d.ok("keys", "there are keys to verify ID Tokens with")
	}
	d.published(md)
	d.dpop(ctx, md)
	d.client(ctx, md)
	return d.findings
}

// diagnosis collects findings.
type diagnosis struct {
	c        *Client
	findings []Finding
}

func (d *diagnosis) add(check string, severity Severity, format string, args ...any) {
	d.findings = append(d.findings, Finding{Check: check, Severity: severity, Detail: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) ok(check, format string, args ...any) { d.add(check, SeverityOK, format, args...) }

// failed reports an error of an exchange. One that may pass is not ours to mend.
func (d *diagnosis) failed(check, what string, err error) {
	severity := SeverityFailure
	if IsTemporary(err) || Code(err) == CodeCanceled {
		severity = SeverityUnreachable
	}
	d.add(check, severity, "%s: %v", what, err)
}

// published compares the configuration with the metadata.
func (d *diagnosis) published(md *Metadata) {
	c := d.c
	if slices.ContainsFunc(c.algs, md.signsWith) {
		d.ok("id_token", "ID Tokens are signed by an algorithm that is allowed")
	} else {
		d.add("id_token", SeverityFailure, "the provider signs ID Tokens by %s, of which none is allowed here", strings.Join(md.IDTokenSigningAlgs, ", "))
	}
	d.lists("grant", md.GrantTypes, grantType, "grant_types_supported", c.delivery == DeliveryPush)
	d.lists("delivery", md.DeliveryModes, string(c.delivery), "backchannel_token_delivery_modes_supported", false)
	d.lists("authentication", md.AuthMethods, c.auth.Method(), "token_endpoint_auth_methods_supported", false)
	if c.signer != nil {
		algs := md.RequestSigningAlgs
		if algs == nil {
			algs = []string{}
		}
		d.lists("signed_requests", algs, c.signer.alg, "backchannel_authentication_request_signing_alg_values_supported", false)
	}
}

// dpop looks whether the provider takes the proofs that we make.
func (d *diagnosis) dpop(ctx context.Context, md *Metadata) {
	if d.c.dpop == nil {
		return
	}
	key, err := d.c.dpop.keys.Current(ctx)
	if err != nil {
		d.failed("dpop", "there is no key", err)
		return
	}
	d.lists("dpop", md.DPoPSigningAlgs, key.alg, "dpop_signing_alg_values_supported", false)
}

// lists reports whether a list in the metadata has what we use. A list that is not
// published says nothing.
func (d *diagnosis) lists(check string, list []string, want, member string, optional bool) {
	switch {
	case optional:
	case list == nil:
		d.add(check, SeverityWarning, "the provider does not publish %s; %s may be supported", member, want)
	case slices.Contains(list, want):
		d.ok(check, "the provider supports %s", want)
	default:
		d.add(check, SeverityFailure, "the provider does not support %s: %s has %s", want, member, printable(strings.Join(list, ", "), 200))
	}
}

// client makes a token request that must fail for the right reason.
func (d *diagnosis) client(ctx context.Context, md *Metadata) {
	c := d.c
	id, err := randomText(c.rand)
	if err != nil {
		d.failed("client", "no request could be made", err)
		return
	}
	form := url.Values{"grant_type": {grantType}, "auth_req_id": {id}}
	sent := c.now()
	a, _, err := c.postProved(ctx, "diagnose", c.mtls.token(md), http.Header{}, form, documentTimeout)
	if err != nil {
		d.failed("client", "the token endpoint does not answer", err)
		return
	}
	d.clock(a, sent, c.now())
	if a.status == http.StatusOK {
		d.add("client", SeverityFailure, "the provider gives tokens for a request that was never made")
		return
	}
	refusal := a.failure()
	switch code := Code(refusal); {
	case IsTemporary(refusal):
		d.add("client", SeverityUnreachable, "the token endpoint answers with status %d", a.status)
	case code == CodeInvalidClient:
		d.add("client", SeverityFailure, "the provider does not know the client %s by %s", c.clientID, c.auth.Method())
	case code == CodeUnauthorizedClient && c.delivery == DeliveryPush:
		// Clients of push mode never ask for tokens (CIBA Core section 11).
		d.ok("client", "the provider takes %s for a client of push mode", c.clientID)
	case code == CodeUnauthorizedClient, code == "unsupported_grant_type":
		d.add("client", SeverityFailure, "the client %s may not use CIBA, or not with delivery %s", c.clientID, c.delivery)
	case code == CodeInvalidGrant, code == CodeExpiredToken:
		d.ok("client", "the provider takes us for the client %s", c.clientID)
	default:
		d.add("client", SeverityWarning, "the provider refuses a token request in an unexpected way: %s", printable(code, 64))
	}
}

// clock compares the clocks by the Date of an answer, which has whole seconds.
func (d *diagnosis) clock(a *answer, sent, received time.Time) {
	theirs, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		d.add("clock", SeverityWarning, "the provider does not say what time it is")
		return
	}
	var off time.Duration
	switch {
	case theirs.Before(sent.Truncate(time.Second)):
		off = theirs.Sub(sent.Truncate(time.Second))
	case theirs.After(received):
		off = theirs.Sub(received)
	}
	off = off.Round(time.Second)
	switch {
	case off.Abs() > d.c.skew:
		d.add("clock", SeverityFailure, "the clocks differ by %s, which is more than the %s that are allowed: ID Tokens will be refused", off, d.c.skew)
	case off != 0:
		d.add("clock", SeverityWarning, "the clocks differ by %s, which is within the %s that are allowed", off, d.c.skew)
	default:
		d.ok("clock", "the clocks agree")
	}
}
