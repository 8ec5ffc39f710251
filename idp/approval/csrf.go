package approval

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
)

// Reasons why a form is refused. They are logged and never shown.
var (
	errNoOrigin      = errors.New("form without Origin and Sec-Fetch-Site")
	errForeignOrigin = errors.New("form from another origin")
	errCrossSite     = errors.New("cross-origin form")
	errFormToken     = errors.New("form token missing or of another form")
)

// checkOrigin refuses an unsafe request that is not known to come from a page
// of this app. It asks for more than http.CrossOriginProtection does: a request
// with neither Origin nor Sec-Fetch-Site is no browser's form and is refused,
// and an Origin that is there must be exactly ours, even when Sec-Fetch-Site
// looks right.
func (a *App) checkOrigin(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	origins := r.Header.Values("Origin")
	sites := r.Header.Values("Sec-Fetch-Site")
	if len(origins) == 0 && len(sites) == 0 {
		return errNoOrigin
	}
	if len(origins) > 1 || len(sites) > 1 {
		return errForeignOrigin
	}
	if len(origins) == 1 && origins[0] != a.origin {
		return errForeignOrigin
	}
	err := a.crossOrigin.Check(r)
	if err != nil {
		return errCrossSite
	}
	return nil
}

// formToken makes the token of a form. The key is a secret that only this
// browser's cookie holds (the session id, or before sign-in the form cookie),
// the purpose names the action and what it acts on, so that a token is of no
// use in another session, for another request or for another action.
func formToken(secret []byte, purpose ...string) string {
	mac := hmac.New(sha256.New, secret)
	for _, p := range purpose {
		// The length in front keeps ("ab","c") apart from ("a","bc").
		var n [8]byte
		for i, l := 0, uint64(len(p)); i < 8; i++ {
			n[i] = byte(l >> (8 * i))
		}
		mac.Write(n[:])
		mac.Write([]byte(p))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// checkFormToken compares in constant time the token of a posted form with the
// one that this secret and purpose give.
func checkFormToken(r *http.Request, secret []byte, purpose ...string) error {
	got := r.PostForm["token"]
	if len(got) != 1 {
		return errFormToken
	}
	if !hmac.Equal([]byte(got[0]), []byte(formToken(secret, purpose...))) {
		return errFormToken
	}
	return nil
}
