package suite

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Accounts is the protected resource that the plan needs: it answers each access
// token of the provider with an empty list, if the connection shows the
// certificate that the token is bound to (RFC 8705 section 3). It is an
// [http.Handler], safe for concurrent use once its fields are set.
type Accounts struct {
	// Introspection is the provider's introspection endpoint. ID and Secret are
	// those of a client with client_secret_basic that may see the tokens.
	Introspection, ID, Secret string

	// Scope is the scope that a token must have.
	Scope string

	// Client asks the provider.
	Client *http.Client

	// Thumbprint returns the x5t#S256 of the certificate of a request, or "".
	Thumbprint func(*http.Request) string
}

// ServeHTTP implements [http.Handler].
func (a *Accounts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(interactionHeader)
	if !uuidPattern.MatchString(id) {
		id = newUUID()
	}
	h := w.Header()
	h.Set(interactionHeader, id)
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		// A token in the query counts for nothing: URLs end up in logs.
		a.refuse(w, http.StatusUnauthorized, "Bearer")
		return
	}
	good, err := a.check(r, token)
	switch {
	case err != nil:
		a.refuse(w, http.StatusServiceUnavailable, "")
	case !good:
		a.refuse(w, http.StatusUnauthorized, `Bearer error="invalid_token"`)
	default:
		_, _ = io.WriteString(w, `{"accounts":[]}`) // the client may be gone
	}
}

func (a *Accounts) refuse(w http.ResponseWriter, status int, challenge string) {
	if challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"error":"`+http.StatusText(status)+`"}`)
}

// check asks the provider about a token and compares the certificate.
func (a *Accounts) check(r *http.Request, token string) (bool, error) {
	form := url.Values{"token": {token}}
	q, err := http.NewRequestWithContext(r.Context(), http.MethodPost, a.Introspection, strings.NewReader(form.Encode()))
	if err != nil {
		return false, fmt.Errorf("making request: %w", err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.SetBasicAuth(url.QueryEscape(a.ID), url.QueryEscape(a.Secret))
	response, err := a.Client.Do(q)
	if err != nil {
		return false, fmt.Errorf("asking provider: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("provider answers %s", response.Status)
	}
	var answer struct {
		Active       bool   `json:"active"`
		Scope        string `json:"scope"`
		Confirmation struct {
			Certificate string `json:"x5t#S256"`
		} `json:"cnf"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer)
	if err != nil {
		return false, fmt.Errorf("reading answer of provider: %w", err)
	}
	bound := answer.Confirmation.Certificate
	hasScope := false
	for _, scope := range strings.Fields(answer.Scope) {
		hasScope = hasScope || scope == a.Scope
	}
	return answer.Active && hasScope && bound != "" && bound == a.Thumbprint(r), nil
}

// newUUID returns a random UUID (RFC 9562 section 5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never returns an error
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
