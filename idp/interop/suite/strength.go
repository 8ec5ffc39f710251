package suite

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"math"
	"strings"
)

// Least numbers of bytes and bits of what must not be guessed. The suite demands
// 96 bits, and warns of an auth_req_id below 160.
const (
	minSecret        = 16
	minEntropy       = 96
	minAuthReqIDBits = 160
)

// entropy is the Shannon entropy of a text in bits: that of its characters, by
// how often they occur, times their number.
func entropy(text string) float64 {
	counts := make(map[rune]float64)
	total := 0.0
	for _, c := range text {
		counts[c]++
		total++
	}
	bits := 0.0
	for _, n := range counts {
		bits -= n * math.Log2(n/total)
	}
	return bits
}

// checkSecret checks that a token can't be guessed.
func checkSecret(r *run, name, value string) {
	r.Helper()
	if len(value) < minSecret || entropy(value) <= minEntropy {
		r.Errorf("%s has %d characters and %.0f bits", name, len(value), entropy(value))
	}
	if strings.ContainsFunc(value, func(c rune) bool { return c < 0x20 || c > 0x7e }) {
		r.Errorf("%s has characters that RFC 6749 forbids", name)
	}
}

// checkAuthReqID checks the characters and the strength of an auth_req_id (CIBA
// Core 1.0 section 7.3).
func checkAuthReqID(r *run, id string) {
	r.Helper()
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	if id == "" || strings.Trim(id, allowed) != "" {
		r.Fatalf("auth_req_id is %q", id)
	}
	if len(id) < minSecret || entropy(id) <= minAuthReqIDBits {
		r.Errorf("auth_req_id has %d characters and %.0f bits", len(id), entropy(id))
	}
}

// checkStrength checks the size of a public key.
func checkStrength(r *run, key any) {
	r.Helper()
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			r.Errorf("RSA key has %d bits", k.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize < 256 {
			r.Errorf("EC key has %d bits", k.Curve.Params().BitSize)
		}
	}
}
