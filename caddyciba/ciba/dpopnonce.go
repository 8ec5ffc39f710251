package ciba

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
)

const (
	// maxNonce bounds the length of a nonce in bytes. It goes into a header.
	maxNonce = 1 << 10

	// maxNonces is of how many servers nonces are remembered. Hosts of requests may
	// be the caller's choice.
	maxNonces = 256
)

// nonceUse tells the nonces of a provider's endpoints from those of APIs, which may
// be on the same host (RFC 9449 section 9).
type nonceUse byte

const (
	atProvider nonceUse = iota
	atAPI
)

// nonceKey names a server.
type nonceKey struct {
	use    nonceUse
	origin string
}

// nonces are the last nonces that servers have handed out. The zero value is ready.
type nonces struct {
	mu    sync.Mutex
	known map[nonceKey]string
}

func keyOf(use nonceUse, u *url.URL) nonceKey {
	return nonceKey{use: use, origin: strings.ToLower(u.Scheme + "://" + u.Host)}
}

// get returns the nonce for a server, or "".
func (n *nonces) get(use nonceUse, u *url.URL) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.known[keyOf(use, u)]
}

// put remembers a nonce. Where there is no room, that of some other server goes: it
// will hand out another one.
func (n *nonces) put(use nonceUse, u *url.URL, nonce string) {
	key := keyOf(use, u)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = make(map[nonceKey]string)
	}
	_, there := n.known[key]
	if !there && len(n.known) >= maxNonces {
		for other := range n.known {
			delete(n.known, other)
			break
		}
	}
	n.known[key] = nonce
}

// nonceOf returns the nonce of an answer. Two of them, or one with other characters
// than RFC 9449 section 8.1 allows, are none.
func nonceOf(header http.Header) (string, bool) {
	values := header.Values("DPoP-Nonce")
	if len(values) != 1 || values[0] == "" || len(values[0]) > maxNonce {
		return "", false
	}
	bad := strings.ContainsFunc(values[0], func(r rune) bool { return !isErrorText(r) || r == ' ' })
	return values[0], !bad
}
