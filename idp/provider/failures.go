package provider

import (
	"errors"
	"net/http"
	"time"
)

// admit returns the client that has sent the request, as authenticate does, and
// bounds how often that may fail (threats B07). A client that does not exist is
// counted like one that does.
func (p *Provider) admit(r *http.Request, f *form) (*client, error) {
	source := p.source(r)
	now := p.now()
	if source != "" && p.hasFailed(r, f, source, now) {
		err := p.checkFailures(r, f, source, now)
		if err != nil {
			return nil, err
		}
	}
	c, err := p.authenticate(r, f)
	var refusal *oauthError
	if !errors.As(err, &refusal) || refusal.code != codeInvalidClient {
		return c, err
	}
	wait := p.limiter.take(now, bucket{kind: bucketSourceFailures, source: source}, p.sourceFailures(source))
	wait = max(wait, p.limiter.take(now, p.failures(r, f, source), p.cfg.Limits.Failures))
	if wait > 0 {
		return nil, tooManyFailures(wait).because(err)
	}
	return nil, err
}

// hasFailed reports whether somebody at the address, or the client from there, has
// failed lately. Either may be forgotten long before the other, or not be counted.
func (p *Provider) hasFailed(r *http.Request, f *form, source string, now time.Time) bool {
	return p.limiter.has(now, bucket{kind: bucketSourceFailures, source: source}) ||
		p.limiter.has(now, p.failures(r, f, source))
}

func tooManyFailures(wait time.Duration) *oauthError {
	return tooMany("Client authentication has failed too often.", wait)
}

// checkFailures refuses to look at credentials from an address that has tried too
// many.
func (p *Provider) checkFailures(r *http.Request, f *form, source string, now time.Time) error {
	wait := p.limiter.peek(now, bucket{kind: bucketSourceFailures, source: source}, p.sourceFailures(source))
	wait = max(wait, p.limiter.peek(now, p.failures(r, f, source), p.cfg.Limits.Failures))
	if wait > 0 {
		return tooManyFailures(wait)
	}
	return nil
}

// sourceFailures is the rate of failures from an address, without a bound for one
// that is not known.
func (p *Provider) sourceFailures(source string) Rate {
	if source == "" {
		return Rate{Burst: -1}
	}
	return p.cfg.Limits.SourceFailures
}

// failures names the bucket for failures of the client that the request claims to
// come from. What names no client is counted as one.
func (p *Provider) failures(r *http.Request, f *form, source string) bucket {
	b := bucket{kind: bucketFailures, source: source}
	creds, err := p.readCredentials(r, f)
	if err == nil && isSubject(creds.clientID) {
		b.client = creds.clientID
	}
	return b
}
