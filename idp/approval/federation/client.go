package federation

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// requestTimeout bounds one request to the other provider.
	requestTimeout = 10 * time.Second

	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 1 << 20
)

// NewClient returns an HTTP client for requests to another provider, which verifies
// it with the given authorities, or those of the system for nil. It follows no
// redirects, and reads answers up to a size.
func NewClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: requestTimeout,
		Transport: limited{&http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:    requestTimeout,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        30 * time.Second,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// limited cuts off answers that are too long.
type limited struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.Transport.RoundTrip(r)
	if err == nil {
		response.Body = &limitedBody{Reader: io.LimitReader(response.Body, maxAnswer), Closer: response.Body}
	}
	return response, err
}

type limitedBody struct {
	io.Reader
	io.Closer
}

// maxCause bounds what is told of an error, in bytes.
const maxCause = 200

// brief makes an error of a library fit for the log: the URL, which may carry a code,
// is taken out of it, and what it quotes of an answer is cut.
func brief(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	text := err.Error()
	if len(text) > maxCause {
		text = strings.ToValidUTF8(text[:maxCause], "") + "…"
	}
	return errors.New(text)
}
