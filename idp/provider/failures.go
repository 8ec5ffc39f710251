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
	now := p.now()
	creds, unreadable := p.readCredentials(r, f)
	counted := failuresOf(creds, p.source(r))
	if counted.source != "" && p.hasFailed(counted, now) {
		err := p.checkFailures(counted, now)
		if err != nil {
			return nil, err
		}
	}
	if unreadable != nil {
		return nil, p.countFailure(counted, now, unreadable)
	}
	c, err := p.authenticate(r, creds)
	if err != nil {
		return nil, p.countFailure(counted, now, err)
	}
	return c, nil
}

// countFailure counts a failed authentication and returns its answer. What is refused
// for another reason is not counted.
func (p *Provider) countFailure(counted bucket, now time.Time, err error) error {
	refusal, ok := errors.AsType[*oauthError](err)
	if !ok || refusal.code != codeInvalidClient {
		return err
	}
	wait := p.limiter.take(now, counted.ofSource(), p.sourceFailures(counted.source))
	wait = max(wait, p.limiter.take(now, counted, p.cfg.Limits.Failures))
	if wait > 0 {
		return tooManyFailures(wait).because(err)
	}
	return err
}

// hasFailed reports whether somebody at the address, or the client from there, has
// failed lately. Either may be forgotten long before the other, or not be counted.
func (p *Provider) hasFailed(counted bucket, now time.Time) bool {
	return p.limiter.has(now, counted.ofSource(), counted)
}

func tooManyFailures(wait time.Duration) *oauthError {
	return tooMany("Client authentication has failed too often.", wait)
}

// checkFailures refuses to look at credentials from an address that has tried too
// many.
func (p *Provider) checkFailures(counted bucket, now time.Time) error {
	wait := p.limiter.peek(now, counted.ofSource(), p.sourceFailures(counted.source))
	wait = max(wait, p.limiter.peek(now, counted, p.cfg.Limits.Failures))
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

// failuresOf names the bucket for failures of the client that a request claims to
// come from. What names no client is counted as one.
func failuresOf(creds *credentials, source string) bucket {
	b := bucket{kind: bucketFailures, source: source}
	if creds != nil && isSubject(creds.clientID) {
		b.client = creds.clientID
	}
	return b
}

// ofSource names the bucket for failures of all clients from the same address.
func (b bucket) ofSource() bucket {
	return bucket{kind: bucketSourceFailures, source: b.source}
}
