package factor

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"strings"
)

const (
	// recoveryCodes is how many recovery codes a customer gets.
	recoveryCodes = 10

	// recoverySize is the size of a recovery code in bytes: 16 characters of base32,
	// which nobody guesses, so that a plain hash keeps them safe.
	recoverySize = 10
)

// recoveryHash is what is kept of a recovery code.
func recoveryHash(subject, code string) []byte {
	sum := sha256.Sum256([]byte("recovery code\x00" + subject + "\x00" + code))
	return sum[:]
}

// NewRecoveryCodes makes ten recovery codes in place of those that there were. They
// are shown to the customer once and can not be read again.
func (v *Vault) NewRecoveryCodes(ctx context.Context, subject string) ([]string, error) {
	var codes []string
	var hashes [][]byte
	for range recoveryCodes {
		raw := make([]byte, recoverySize)
		_, err := io.ReadFull(v.cfg.Rand, raw)
		if err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		code := encoding.EncodeToString(raw)
		hashes = append(hashes, recoveryHash(subject, code))
		codes = append(codes, code[:4]+"-"+code[4:8]+"-"+code[8:12]+"-"+code[12:])
	}
	err := v.change(ctx, subject, func(h *held) (bool, error) {
		h.Recovery = hashes
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// Recover takes a recovery code, in either case and with or without its dashes. It is
// used up by the write that takes it. It returns ErrWrong for any other.
func (v *Vault) Recover(ctx context.Context, subject, code string) error {
	code = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
	hash := recoveryHash(subject, code)
	return v.change(ctx, subject, func(h *held) (bool, error) {
		found := -1
		for i, known := range h.Recovery {
			if subtle.ConstantTimeCompare(known, hash) == 1 {
				found = i
			}
		}
		if found < 0 {
			return false, ErrWrong
		}
		h.Recovery = append(h.Recovery[:found:found], h.Recovery[found+1:]...)
		return true, nil
	})
}
