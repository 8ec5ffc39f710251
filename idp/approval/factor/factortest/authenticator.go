// Package factortest is an authenticator in memory, for tests: it makes passkeys and
// answers challenges as a phone does, and lies where it is told to.
package factortest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
)

// Flags of authenticator data (WebAuthn Level 3 section 6.1).
const (
	UP = 1 << 0
	UV = 1 << 2
	BE = 1 << 3
	BS = 1 << 4
	AT = 1 << 6
)

// Authenticator holds one passkey. Its fields may be changed between answers.
type Authenticator struct {
	t   testing.TB
	key *ecdsa.PrivateKey

	// ID is the credential id, and Handle the user handle that it was made for.
	ID, Handle []byte

	// Origin is where the browser says it is, and RPID what it hashes for the
	// authenticator.
	Origin, RPID string

	// Flags are those of the next answer, Counter its counter.
	Flags   byte
	Counter uint32

	// Algorithm is the COSE algorithm that the passkey claims to have.
	Algorithm int

	// Type replaces webauthn.create or webauthn.get, and CrossOrigin says that the
	// answer comes from a frame.
	Type        string
	CrossOrigin bool
}

// New returns an authenticator without a passkey, at an origin. It says that a person
// was there and was verified, and that its passkeys stay where they are.
func New(t testing.TB, origin, rpID string) *Authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 24)
	_, err = rand.Read(id)
	if err != nil {
		t.Fatal(err)
	}
	return &Authenticator{t: t, key: key, ID: id, Origin: origin, RPID: rpID, Flags: UP | UV, Algorithm: -7}
}

// Create makes the passkey that options, as PublicKeyCredentialCreationOptionsJSON,
// ask for, and returns RegistrationResponseJSON.
func (a *Authenticator) Create(options []byte) []byte {
	a.t.Helper()
	var want struct {
		Challenge string `json:"challenge"`
		User      struct {
			ID string `json:"id"`
		} `json:"user"`
	}
	a.decode(options, &want)
	handle, err := base64.RawURLEncoding.DecodeString(want.User.ID)
	if err != nil {
		a.t.Fatal(err)
	}
	a.Handle = handle
	public, err := a.key.PublicKey.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	cose := a.cbor(map[int]any{1: 2, 3: a.Algorithm, -1: 1, -2: public[1:33], -3: public[33:]})
	data := a.authenticatorData(AT)
	data = append(data, make([]byte, 16)...) // no AAGUID
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.ID)))
	data = append(data, a.ID...)
	data = append(data, cose...)
	object := a.cbor(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": data})
	return a.answer(map[string]any{
		"clientDataJSON": encode(a.clientData("webauthn.create", want.Challenge)), "attestationObject": encode(object),
		"transports": []string{"internal"},
	})
}

// Get answers options, as PublicKeyCredentialRequestOptionsJSON, with
// AuthenticationResponseJSON.
func (a *Authenticator) Get(options []byte) []byte {
	a.t.Helper()
	var want struct {
		Challenge string `json:"challenge"`
	}
	a.decode(options, &want)
	return a.Sign(want.Challenge)
}

// Sign is Get for a challenge in base64url.
func (a *Authenticator) Sign(challenge string) []byte {
	a.t.Helper()
	client := a.clientData("webauthn.get", challenge)
	data := a.authenticatorData(0)
	sum := sha256.Sum256(client)
	signed := sha256.Sum256(append(append([]byte{}, data...), sum[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, signed[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string]any{
		"clientDataJSON": encode(client), "authenticatorData": encode(data),
		"signature": encode(signature), "userHandle": encode(a.Handle),
	})
}

func (a *Authenticator) clientData(kind, challenge string) []byte {
	if a.Type != "" {
		kind = a.Type
	}
	return a.json(map[string]any{"type": kind, "challenge": challenge, "origin": a.Origin, "crossOrigin": a.CrossOrigin})
}

func (a *Authenticator) authenticatorData(more byte) []byte {
	sum := sha256.Sum256([]byte(a.RPID))
	data := append(sum[:], a.Flags|more)
	return binary.BigEndian.AppendUint32(data, a.Counter)
}

func (a *Authenticator) answer(response map[string]any) []byte {
	id := encode(a.ID)
	return a.json(map[string]any{
		"id": id, "rawId": id, "type": "public-key", "clientExtensionResults": map[string]any{}, "response": response,
	})
}

func (a *Authenticator) json(v any) []byte {
	a.t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return raw
}

func (a *Authenticator) cbor(v any) []byte {
	a.t.Helper()
	raw, err := webauthncbor.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return raw
}

func (a *Authenticator) decode(raw []byte, into any) {
	a.t.Helper()
	err := json.Unmarshal(raw, into)
	if err != nil {
		a.t.Fatalf("options %q: %v", raw, err)
	}
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
