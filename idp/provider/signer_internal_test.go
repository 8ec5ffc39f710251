package provider

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"strconv"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Among so many signatures there are some with leading zeros, which ASN.1 leaves out:
// always the same ones, since key and texts are.
func TestSignatureOfES256(t *testing.T) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newJWTSigner("ES256", jose.JSONWebKey{Key: key, KeyID: "1"}, "JWT", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short := 0
	for n := range 500 {
		input := []byte("text " + strconv.Itoa(n))
		signature, err := s.signature(input)
		if err != nil || len(signature) != 64 {
			t.Fatalf("signature %x: %v", signature, err)
		}
		if signature[0] == 0 || signature[32] == 0 {
			short++
		}
		sum := sha256.Sum256(input)
		if !ecdsa.Verify(&key.PublicKey, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			t.Fatalf("signature %x of %q is wrong", signature, input)
		}
	}
	if short == 0 {
		t.Error("no signature had leading zeros")
	}
}

func TestJoinECDSA(t *testing.T) {
	for name, test := range map[string]struct{ der, want string }{
		"two small numbers":    {"3006020101020102", pad("01") + pad("02")},
		"a leading zero":       {"300702020080020102", pad("80") + pad("02")},
		"a negative number":    {"3006020181020102", ""},
		"one number":           {"3003020101", ""},
		"three numbers":        {"3009020101020102020103", ""},
		"something behind":     {"300602010102010200", ""},
		"a number of 33 bytes": {"3026022101" + pad("") + "020102", ""},
		"nothing":              {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			der, err := hex.DecodeString(test.der)
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(test.want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := joinECDSA(der)
			if (err == nil) != (test.want != "") || !bytes.Equal(got, want) {
				t.Errorf("%x: %v", got, err)
			}
		})
	}
}

// pad fills a number in hex up to 32 bytes.
func pad(number string) string {
	for len(number) < 64 {
		number = "0" + number
	}
	return number
}
