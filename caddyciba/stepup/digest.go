package stepup

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"io"
	"maps"
	"slices"
)

// digestVersion begins the canonical form. It changes when the form does, so
// that no digest of one form can be that of another request in another form.
const digestVersion = "caddyciba transaction v1"

// shortDigest is the number of characters that end a binding message.
const shortDigest = 8

// Digest is the SHA-256 of the canonical form of a request, its caller and its
// customer. Two requests with the same digest are the same request.
type Digest [sha256.Size]byte

// String returns the digest in base64url without padding (43 characters), as it
// travels in request_digest.
func (d Digest) String() string { return base64.RawURLEncoding.EncodeToString(d[:]) }

// Short returns the first eight characters of String, for people to compare.
func (d Digest) Short() string { return d.String()[:shortDigest] }

// bound is everything that an approval is bound to.
type bound struct {
	method, scheme, host, target string
	header                       map[string][]string // lower-case names
	body                         []byte
	caller, customer             string
}

// digest hashes the canonical form.
func (b *bound) digest() Digest {
	form := canonicalWriter{w: sha256.New()}
	form.bound(b)
	var d Digest
	form.w.(hash.Hash).Sum(d[:0])
	return d
}

// canonicalWriter writes the canonical form: each string with its length before
// it, each list with its count, in a fixed order. No two different values of
// bound have the same form. Writing to a hash or a buffer cannot fail.
type canonicalWriter struct{ w io.Writer }

func (c canonicalWriter) bound(b *bound) {
	c.text(digestVersion)
	c.text(b.method)
	c.text(b.scheme)
	c.text(b.host)
	c.text(b.target)
	c.count(len(b.header))
	for _, name := range slices.Sorted(maps.Keys(b.header)) {
		c.text(name)
		c.count(len(b.header[name]))
		for _, value := range b.header[name] {
			c.text(value)
		}
	}
	c.bytes(b.body)
	c.text(b.caller)
	c.text(b.customer)
}

func (c canonicalWriter) count(n int) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(n))
	_, _ = c.w.Write(length[:])
}

func (c canonicalWriter) text(s string) { c.bytes([]byte(s)) }

func (c canonicalWriter) bytes(b []byte) {
	c.count(len(b))
	_, _ = c.w.Write(b)
}
