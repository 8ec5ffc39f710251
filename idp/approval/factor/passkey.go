package factor

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/caddyciba/gateway/idp/provider"
)

const (
	// maxPasskeys bounds the passkeys of a customer: each has an index entry.
	maxPasskeys = 20

	// maxPasskeyName bounds the name of a passkey, in characters.
	maxPasskeyName = 64

	// handleSize is the size of a user handle, which is random and says nothing
	// about the customer (WebAuthn Level 3 section 14.6.1).
	handleSize = 32

	// Purposes of the tickets that passkey challenges are.
	purposeRegister = "passkey-register"
	purposeSignIn   = "passkey-sign-in"
)

// algorithms are the signature algorithms that passkeys may have, in the order of
// preference. RS256 is what some platforms have and nothing else.
var algorithms = []protocol.CredentialParameter{
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgES256},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgEdDSA},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgRS256},
}

// newWebAuthn sets the library up: one origin, its host as relying party, user
// verification always, discoverable credentials, no attestation. What extensions
// answer unasked means nothing here and is ignored, since password managers do so.
func newWebAuthn(cfg Config, host string) (*webauthn.WebAuthn, error) {
	required := true
	web, err := webauthn.New(&webauthn.Config{
		RPID:                  host,
		RPDisplayName:         cfg.Name,
		RPOrigins:             []string{cfg.Origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			RequireResidentKey: &required,
			ResidentKey:        protocol.ResidentKeyRequirementRequired,
			UserVerification:   protocol.VerificationRequired,
		},
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, fmt.Errorf("setting up passkeys: %w", err)
	}
	return web, nil
}

// person is a customer as the library wants to see one.
type person struct {
	handle         []byte
	name, fullName string
	passkeys       []passkeyRecord
}

func (p person) WebAuthnID() []byte          { return p.handle }
func (p person) WebAuthnName() string        { return p.name }
func (p person) WebAuthnDisplayName() string { return p.fullName }
func (p person) WebAuthnCredentials() []webauthn.Credential {
	credentials := make([]webauthn.Credential, 0, len(p.passkeys))
	for _, passkey := range p.passkeys {
		credentials = append(credentials, passkey.Credential)
	}
	return credentials
}

func (h *held) person() person { return person{handle: h.Handle, passkeys: h.Passkeys} }

// RegistrationOptions returns what the customer's browser needs to make a passkey:
// PublicKeyCredentialCreationOptionsJSON of WebAuthn Level 3 section 5.1.8. The
// challenge is good once, for ten minutes and for the binding.
func (v *Vault) RegistrationOptions(ctx context.Context, user *provider.User, binding Binding) (json.RawMessage, error) {
	if v.web == nil {
		return nil, ErrNoPasskeys
	}
	h, err := v.load(ctx, user.ID)
	if err != nil {
		return nil, err
	}
	if len(h.Passkeys) >= maxPasskeys {
		return nil, ErrFull
	}
	if len(h.Passkeys) == 0 {
		h.Handle = make([]byte, handleSize)
		_, err = io.ReadFull(v.cfg.Rand, h.Handle)
		if err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
	}
	challenge, err := v.ticket(ctx, h.Handle, registration(user.ID, binding))
	if err != nil {
		return nil, err
	}
	who := h.person()
	who.name, who.fullName = user.Username, user.Name
	if who.fullName == "" {
		who.fullName = user.Username
	}
	var exclude []protocol.CredentialDescriptor
	for _, credential := range who.WebAuthnCredentials() {
		exclude = append(exclude, credential.Descriptor())
	}
	creation, _, err := v.web.BeginRegistration(who, webauthn.WithExclusions(exclude),
		webauthn.WithCredentialParameters(algorithms),
		func(options *protocol.PublicKeyCredentialCreationOptions) error {
			options.Challenge = challenge
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("preparing a passkey: %w", err)
	}
	return json.Marshal(creation.Response)
}

func registration(subject string, binding Binding) Binding {
	return append(Binding{purposeRegister, subject}, binding...)
}

// Register adds the passkey that the browser made with [Vault.RegistrationOptions],
// RegistrationResponseJSON of WebAuthn Level 3, under a name. A link, if there is one,
// is used up by the same write. Errors are ErrMalformed, ErrStale, ErrTaken, ErrFull,
// and ErrWrong, also for a link that is not good any more.
func (v *Vault) Register(ctx context.Context, subject string, binding Binding, response []byte, name string, link *OpenLink) (*Passkey, error) {
	if v.web == nil {
		return nil, ErrNoPasskeys
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, reason(err))
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(parsed.Response.CollectedClientData.Challenge)
	if err != nil {
		return nil, ErrStale
	}
	handle, err := v.spend(ctx, raw, registration(subject, binding))
	if err != nil {
		return nil, err
	}
	// The library wants to know what it would have kept from the beginning.
	credential, err := v.web.CreateCredential(person{handle: handle}, webauthn.SessionData{
		Challenge:        parsed.Response.CollectedClientData.Challenge,
		RelyingPartyID:   v.host,
		UserID:           handle,
		UserVerification: protocol.VerificationRequired,
		CredParams:       algorithms,
	}, parsed)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", registrationError(err), reason(err))
	}
	_, err = v.find(ctx, credentialIndex(credential.ID))
	if err == nil {
		return nil, ErrTaken
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	record := passkeyRecord{
		ID: passkeyID(credential.ID), Name: cleanName(name), Added: v.cfg.Now().Unix(), Credential: *credential,
	}
	err = v.change(ctx, subject, func(h *held) (bool, error) {
		if link != nil {
			err := h.consumeLink(link, v.cfg.Now())
			if err != nil {
				return false, err
			}
		}
		if len(h.Passkeys) > 0 && !bytes.Equal(h.Handle, handle) {
			return false, ErrStale // another first passkey was faster
		}
		if len(h.Passkeys) >= maxPasskeys {
			return false, ErrFull
		}
		h.Handle = handle
		h.Passkeys = append(h.Passkeys, record)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	added := record.describe()
	return &added, nil
}

// registrationError tells an answer of a kind that is not taken (an algorithm, an
// attestation format) from one that was made for another place.
func registrationError(err error) error {
	var detailed *protocol.Error
	if errors.As(err, &detailed) && (detailed.Type == protocol.ErrAttestationFormat.Type || detailed.Type == protocol.ErrParsingData.Type) {
		return ErrMalformed
	}
	return ErrWrong
}

// RemovePasskey removes a passkey, or returns ErrNotFound.
func (v *Vault) RemovePasskey(ctx context.Context, subject, id string) error {
	return v.change(ctx, subject, func(h *held) (bool, error) {
		for i := range h.Passkeys {
			if h.Passkeys[i].ID == id {
				h.Passkeys = append(h.Passkeys[:i:i], h.Passkeys[i+1:]...)
				return true, nil
			}
		}
		return false, ErrNotFound
	})
}

// cleanName cuts a name to what is kept.
func cleanName(name string) string {
	name = strings.TrimSpace(strings.ToValidUTF8(name, ""))
	if utf8.RuneCountInString(name) > maxPasskeyName {
		name = string([]rune(name)[:maxPasskeyName])
	}
	return name
}

// reason is what an error of the library says. None of it is secret: it names the
// step of the verification that failed.
func reason(err error) string {
	var detailed *protocol.Error
	if errors.As(err, &detailed) && detailed.DevInfo != "" {
		return detailed.Details + ": " + detailed.DevInfo
	}
	return err.Error()
}

// Interface guard
var _ webauthn.User = person{}
