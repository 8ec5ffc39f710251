package factor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

// assertionTimeout is how long an authenticator may take, in milliseconds. It is a
// hint to browsers; what counts is the age of the challenge.
const assertionTimeout = 300_000

// requestOptions is PublicKeyCredentialRequestOptionsJSON of WebAuthn Level 3 section
// 5.1.9.
type requestOptions struct {
	Challenge        string                          `json:"challenge,omitempty"`
	RPID             string                          `json:"rpId"`
	Timeout          int                             `json:"timeout"`
	UserVerification string                          `json:"userVerification"`
	Allow            []protocol.CredentialDescriptor `json:"allowCredentials,omitempty"`
}

// SignInOptions returns what a browser needs to sign somebody in with a passkey,
// whoever it is. The challenge is good once, for ten minutes and for the binding.
func (v *Vault) SignInOptions(ctx context.Context, binding Binding) (json.RawMessage, error) {
	return v.options(ctx, nil, append(Binding{purposeSignIn}, binding...))
}

// ProofOptions is SignInOptions for one customer, who is known and proves it again.
func (v *Vault) ProofOptions(ctx context.Context, subject string, binding Binding) (json.RawMessage, error) {
	h, err := v.load(ctx, subject)
	if err != nil {
		return nil, err
	}
	return v.options(ctx, h, append(Binding{purposeSignIn}, binding...))
}

func (v *Vault) options(ctx context.Context, h *held, binding Binding) (json.RawMessage, error) {
	if v.web == nil {
		return nil, ErrNoPasskeys
	}
	challenge, err := v.Ticket(ctx, nil, binding)
	if err != nil {
		return nil, err
	}
	return v.encodeOptions(challenge, h, nil)
}

// encodeOptions names the passkeys of an account that are allowed, or none for a
// customer who is not known yet.
func (v *Vault) encodeOptions(challenge string, h *held, allow func(Passkey) bool) (json.RawMessage, error) {
	options := requestOptions{
		Challenge: challenge, RPID: v.host, Timeout: assertionTimeout,
		UserVerification: string(protocol.VerificationRequired),
	}
	if h != nil {
		for _, p := range h.Passkeys {
			if !p.Blocked && (allow == nil || allow(p.describe())) {
				options.Allow = append(options.Allow, p.Credential.Descriptor())
			}
		}
	}
	return json.Marshal(options)
}

// Assertion is the proof of possession of a passkey, by a customer whom the
// authenticator has verified.
type Assertion struct {
	// Subject is the customer.
	Subject string

	// Passkey is the passkey as it was before this use.
	Passkey Passkey

	// Response is the authenticator's answer as it came, AuthenticationResponseJSON
	// of WebAuthn Level 3, and PublicKey the key that verifies it (COSE_Key, RFC
	// 9052). With the challenge they prove to anybody what was signed.
	Response  json.RawMessage
	PublicKey []byte
}

// SignIn checks the answer to [Vault.SignInOptions] or [Vault.ProofOptions] and
// returns whose it is. Errors are ErrMalformed, ErrStale, ErrWrong, ErrCloned and
// ErrChanged.
func (v *Vault) SignIn(ctx context.Context, binding Binding, response []byte) (*Assertion, error) {
	parsed, err := v.parse(response)
	if err != nil {
		return nil, err
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(parsed.Response.CollectedClientData.Challenge)
	if err != nil {
		return nil, ErrStale
	}
	_, err = v.spend(ctx, raw, append(Binding{purposeSignIn}, binding...))
	if err != nil {
		return nil, err
	}
	return v.verify(ctx, parsed, response)
}

// parse reads the answer of an authenticator.
func (v *Vault) parse(response []byte) (*protocol.ParsedCredentialAssertionData, error) {
	if v.web == nil {
		return nil, ErrNoPasskeys
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, reason(err))
	}
	if len(parsed.Response.UserHandle) == 0 {
		return nil, fmt.Errorf("%w: no user handle", ErrMalformed)
	}
	return parsed, nil
}

// verify finds the customer by the user handle, verifies the answer with the passkey,
// and notes its use. The challenge is the one in the answer: whether it is one of
// ours was checked before.
func (v *Vault) verify(ctx context.Context, parsed *protocol.ParsedCredentialAssertionData, response []byte) (*Assertion, error) {
	found, err := v.find(ctx, handleIndex(parsed.Response.UserHandle))
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: unknown user handle", ErrWrong)
	}
	if err != nil {
		return nil, err
	}
	var assertion *Assertion
	err = v.change(ctx, found.subject, func(h *held) (bool, error) {
		before := -1
		for i, p := range h.Passkeys {
			if p.ID == passkeyID(parsed.RawID) {
				before = i
			}
		}
		if before < 0 {
			return false, fmt.Errorf("%w: the customer has no such passkey", ErrWrong)
		}
		passkey := &h.Passkeys[before]
		if passkey.Blocked {
			return false, ErrCloned
		}
		known := *passkey
		err := v.use(h, passkey, parsed)
		if errors.Is(err, ErrCloned) {
			passkey.Blocked = true
			return true, err
		}
		if err != nil {
			return false, err
		}
		assertion = &Assertion{
			Subject: h.subject, Passkey: known.describe(),
			Response: response, PublicKey: known.Credential.PublicKey,
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return assertion, nil
}

// use verifies an answer with a passkey and notes counter, flags and time.
func (v *Vault) use(h *held, passkey *passkeyRecord, parsed *protocol.ParsedCredentialAssertionData) error {
	flags := parsed.Response.AuthenticatorData.Flags
	changed := flags.HasBackupEligible() != passkey.Credential.Flags.BackupEligible
	credential, err := v.web.ValidateLogin(h.person(), webauthn.SessionData{
		Challenge:        parsed.Response.CollectedClientData.Challenge,
		RelyingPartyID:   v.host,
		UserID:           h.Handle,
		UserVerification: protocol.VerificationRequired,
	}, parsed)
	switch {
	case err != nil && changed && flags.HasUserVerified():
		return fmt.Errorf("%w: %s", ErrChanged, reason(err))
	case err != nil:
		return fmt.Errorf("%w: %s", ErrWrong, reason(err))
	case credential.Authenticator.CloneWarning:
		return ErrCloned
	}
	passkey.Credential = *credential
	passkey.Used = v.cfg.Now().Unix()
	return nil
}
