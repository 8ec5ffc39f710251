package webpush

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

// vector reads the values of a file, in base64url but for plaintext.
func vector(t *testing.T, name string) map[string][]byte {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	values := make(map[string][]byte)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		name, value, found := strings.Cut(lines.Text(), " ")
		if !found || name == "#" {
			continue
		}
		values[name] = []byte(value)
		if name == "plaintext" {
			continue
		}
		values[name], err = base64.RawURLEncoding.DecodeString(value)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return values
}

// The example of RFC 8291 section 5.
func TestEncrypt(t *testing.T) {
	v := vector(t, "testdata/rfc8291.txt")
	to, err := ecdh.P256().NewPublicKey(v["ua_public"])
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdh.P256().NewPrivateKey(v["as_private"])
	if err != nil {
		t.Fatal(err)
	}
	got, err := encrypt(to, v["auth"], key, v["salt"], v["plaintext"])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, v["body"]) {
		t.Errorf("got\n%s\nwant\n%s", base64.RawURLEncoding.EncodeToString(got), base64.RawURLEncoding.EncodeToString(v["body"]))
	}
}
