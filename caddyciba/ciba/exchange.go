package ciba

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxBody bounds every answer of a provider.
	maxBody = 1 << 20

	// maxHeader bounds the header of every answer of a provider.
	maxHeader = 64 << 10

	// documentTimeout bounds the fetching of metadata and keys, which are small
	// and static.
	documentTimeout = 10 * time.Second

	// startTimeout bounds a backchannel authentication request. Providers
	// reach out to the customer's device before they answer.
	startTimeout = 20 * time.Second

	// pollTimeout bounds a token request. A provider that supports long polling
	// may hold it for 30 seconds (CIBA Core section 10.1).
	pollTimeout = 40 * time.Second

	// revokeTimeout bounds a revocation, on which nothing waits.
	revokeTimeout = 10 * time.Second

	// maxRetryAfter is the longest Retry-After that is believed.
	maxRetryAfter = time.Hour
)

// NewHTTPClient returns the HTTP client that this package uses by default, with
// the given TLS settings (nil for the defaults). Operators who trust their own
// authorities or present a client certificate build it with theirs.
//
// It speaks TLS 1.2 or better, follows no redirect, keeps no cookies, ignores
// the proxy variables of the environment, asks for no compression, and gives up
// on a connection after 5 seconds. A caller that needs a proxy sets one on the
// Transport.
func NewHTTPClient(tlsConfig *tls.Config) *http.Client {
	if tlsConfig == nil {
		tlsConfig = &tls.Config{}
	} else {
		tlsConfig = tlsConfig.Clone()
	}
	if tlsConfig.MinVersion < tls.VersionTLS12 {
		tlsConfig.MinVersion = tls.VersionTLS12
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{
		CheckRedirect: refuseRedirect,
		Transport: &http.Transport{
			Proxy:                  nil,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        tlsConfig,
			TLSHandshakeTimeout:    5 * time.Second,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConnsPerHost:    64,
			IdleConnTimeout:        90 * time.Second,
		},
	}
}

// refuseRedirect makes a redirect the answer itself. A redirected request would
// carry the client's credentials to wherever the answer points.
func refuseRedirect(*http.Request, []*http.Request) error {
	return http.ErrUseLastResponse
}

// hardened returns a copy of a caller's client that follows no redirect and
// keeps no cookies, whatever it was set to do.
func hardened(base *http.Client) *http.Client {
	hc := *base
	hc.CheckRedirect = refuseRedirect
	hc.Jar = nil
	return &hc
}

// answer is a response that has been read to its end.
type answer struct {
	op     string
	status int
	header http.Header
	body   []byte
}

// get fetches a document.
func (c *Client) get(ctx context.Context, op, target string) (*answer, error) {
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		return nil, invalidArgument(op, "making request: %w", err)
	}
	return c.exchange(ctx, r, op, documentTimeout)
}

// post sends a form to an endpoint of the provider, authenticated as the client.
func (c *Client) post(ctx context.Context, op, target string, form url.Values, timeout time.Duration) (*answer, error) {
	return c.postWith(ctx, op, target, http.Header{}, form, timeout)
}

// postWith is post with further header fields.
func (c *Client) postWith(ctx context.Context, op, target string, header http.Header, form url.Values, timeout time.Duration) (*answer, error) {
	err := c.auth.Authenticate(ctx, &Credentials{
		Issuer:   c.issuer,
		ClientID: c.clientID,
		Form:     form,
		Header:   header,
		Now:      c.now(),
		Rand:     c.rand,
	})
	if err != nil {
		return nil, invalidArgument(op, "authenticating client: %w", err)
	}
	r, err := http.NewRequest(http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, invalidArgument(op, "making request: %w", err)
	}
	r.Header = header
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.exchange(ctx, r, op, timeout)
}

// exchange sends one request and reads the whole answer: at most maxBody, in at
// most the given time. What fails on the way is CodeUnavailable, or CodeCanceled
// where the caller's own context ended; what is not an answer to work with is
// CodeInvalidResponse.
func (c *Client) exchange(ctx context.Context, r *http.Request, op string, timeout time.Duration) (*answer, error) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r.Header.Set("Accept", "application/json")
	// Said aloud, the transport does not add gzip by itself, and no answer can
	// unpack to more than was sent.
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("User-Agent", "caddyciba")
	resp, err := c.http.Do(r.WithContext(bounded))
	if err != nil {
		return nil, unavailable(ctx, op, 0, transportCause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	a := &answer{op: op, status: resp.StatusCode, header: resp.Header}
	encoding := resp.Header.Get("Content-Encoding")
	if encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, a.broken("content encoding was not asked for")
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, unavailable(ctx, op, a.status, fmt.Errorf("reading answer: %w", err))
	}
	if len(a.body) > maxBody {
		return nil, a.broken("answer is above %d bytes", maxBody)
	}
	return a, nil
}

func unavailable(ctx context.Context, op string, status int, cause error) *Error {
	if ctx.Err() != nil {
		return canceled(ctx, op)
	}
	return &Error{Op: op, Code: CodeUnavailable, Status: status, Err: cause}
}

// transportCause drops the method and URL that net/http puts in front of what
// went wrong: the operation is named by the *Error already.
func transportCause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// broken makes the error for an answer that breaks the protocol.
func (a *answer) broken(format string, args ...any) *Error {
	return invalidResponse(a.op, a.status, format, args...)
}

// object reads a success. The protocol fixes its media type to JSON.
func (a *answer) object() (object, error) {
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || (media != "application/json" && !strings.HasSuffix(media, "+json")) {
		return nil, a.broken("answer is not of a JSON media type")
	}
	o, err := parseObject(a.body)
	if err != nil {
		return nil, a.broken("reading answer: %w", err)
	}
	return o, nil
}

// failure turns an answer that is no success into the error that it stands for.
func (a *answer) failure() *Error {
	e := &Error{Op: a.op, Status: a.status, RetryAfter: a.retryAfter()}
	code, description := a.oauthError()
	e.Description = description
	switch {
	case a.status >= 500, a.status == http.StatusTooManyRequests, a.status == http.StatusRequestTimeout,
		code == "temporarily_unavailable", code == "server_error", code == codeUseDPoPNonce:
		e.Code = CodeUnavailable
	case a.status < 400:
		e.Code = CodeInvalidResponse
		e.Err = errors.New("status is neither success nor error")
	case code != "":
		e.Code = code
	case a.status == http.StatusUnauthorized:
		// These endpoints know one reason for it, whatever stands in front of
		// them wrote into the body.
		e.Code = CodeInvalidClient
	default:
		e.Code = CodeInvalidResponse
		e.Err = errors.New("error answer carries no usable error code")
	}
	return e
}

// oauthError reads the error object of RFC 6749 section 5.2 leniently: where the
// body is none, both results are empty.
func (a *answer) oauthError() (string, string) {
	o, err := parseObject(a.body)
	if err != nil {
		return "", ""
	}
	return errorMembers(o)
}

// errorMembers returns the error code and its description, or "" for a code that
// is absent, malformed, or one of this package's own.
func errorMembers(o object) (string, string) {
	code, err := o.text("error")
	if err != nil || !isErrorCode(code) {
		return "", ""
	}
	description, err := o.text("error_description")
	if err != nil {
		description = ""
	}
	return code, printable(description, 200)
}

func isErrorCode(code string) bool {
	if code == "" || len(code) > 64 || strings.HasPrefix(code, "ciba_") {
		return false
	}
	for _, r := range code {
		if !isErrorText(r) || r == ' ' {
			return false
		}
	}
	return true
}

// retryAfter reads Retry-After as seconds or as a date, and believes at most
// maxRetryAfter.
func (a *answer) retryAfter() time.Duration {
	value := strings.TrimSpace(a.header.Get("Retry-After"))
	if value == "" {
		return 0
	}
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err == nil {
		if seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	if errors.Is(err, strconv.ErrRange) {
		return maxRetryAfter
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	// The distance is taken from the provider's own Date, so that two clocks
	// that differ do not stretch it.
	sent, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return 0
	}
	return min(max(at.Sub(sent), 0), maxRetryAfter)
}
