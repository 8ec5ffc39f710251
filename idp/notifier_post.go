package idp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval/notice"
	"github.com/caddyciba/gateway/idp/provider"
)

// maxPostAnswer is how much of an answer is read, so that the connection can be
// used again.
const maxPostAnswer = 4 << 10

// poster posts what notifiers have to say to a server that the config names. It
// connects to public addresses and to the opened networks, and follows no redirect.
type poster struct {
	what   string // the notifier, for errors
	client *http.Client
}

// newPoster returns a poster for the configured networks and authorities.
func newPoster(repl *caddy.Replacer, what string, networks, authorities []string) (poster, error) {
	opened, err := parseNetworks(what+" networks", networks)
	if err != nil {
		return poster{}, err
	}
	certificates, err := readCertificates(repl, what+" ca", authorities)
	if err != nil {
		return poster{}, err
	}
	pool, err := certPool(certificates)
	if err != nil {
		return poster{}, err
	}
	return poster{what: what, client: provider.NewCallbackClient(opened, pool)}, nil
}

// close closes the connections that are not in use.
func (p poster) close() {
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
}

// post makes one attempt. Any answer of the 200s is good; after faults of the
// network, 429 and the 500s another attempt makes sense. The URL, in which there
// may be a secret, is in no error.
func (p poster) post(ctx context.Context, target string, header http.Header, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return notice.Permanent(fmt.Errorf("making %s request", p.what))
	}
	r.GetBody = nil // one POST for one attempt: the transport must not repeat it
	r.Header = header
	response, err := p.client.Do(r)
	if err != nil {
		return fmt.Errorf("posting to %s: %w", p.what, withoutURL(err))
	}
	defer response.Body.Close()
	// What it says is of no interest; how far it can be read does not matter.
	_, _ = io.CopyN(io.Discard, response.Body, maxPostAnswer)
	status := response.StatusCode
	if status >= 200 && status < 300 {
		return nil
	}
	err = fmt.Errorf("%s has answered with %d", p.what, status)
	if status == http.StatusTooManyRequests || status >= http.StatusInternalServerError {
		return err
	}
	return notice.Permanent(err)
}

// withoutURL takes the URL, in which there may be a secret, out of an error.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// checkPostURL refuses what messages must not be sent to. The URL is not in the
// error: it may have a secret in it.
func checkPostURL(what, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%s URL must be a plain https URL", what)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return fmt.Errorf("%s URL must be https; plain http is taken for loopback hosts only", what)
	}
	return nil
}

// checkConfiguredURL is checkPostURL for a URL whose placeholders are not resolved
// yet.
func checkConfiguredURL(what, raw string) error {
	switch {
	case raw == "":
		return fmt.Errorf("%s has no URL", what)
	case strings.Contains(raw, "{"):
		return nil
	}
	return checkPostURL(what, raw)
}

// resolveURL resolves the placeholders of a URL, and checks it again.
func resolveURL(repl *caddy.Replacer, what, configured string) (string, error) {
	resolved, err := resolve(repl, what+" URL", configured)
	if err != nil {
		return "", err
	}
	return resolved, checkPostURL(what, resolved)
}

// resolveToken resolves a token that must not stand in the config itself.
func resolveToken(repl *caddy.Replacer, what, configured string) (string, error) {
	err := checkToken(what, configured)
	if err != nil || configured == "" {
		return "", err
	}
	token, _, err := resolveSecret(repl, what, configured)
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s has characters that no HTTP header can carry", what)
	}
	return token, nil
}

// checkToken refuses a token in the config itself.
func checkToken(what, configured string) error {
	if configured != "" && !isReference(configured) {
		return fmt.Errorf("%s must be a placeholder, {env.NAME} or {file.PATH}, and not the secret itself", what)
	}
	return nil
}
