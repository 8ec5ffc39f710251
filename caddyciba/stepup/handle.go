package stepup

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Prefix is the path below which callers find their transactions.
const Prefix = "/.ciba/"

// statusPrefix begins the path of one transaction.
const statusPrefix = Prefix + "t/"

// handleSize is the size of a handle in bytes: the transaction's UUID and 256
// bits that nobody can guess.
const handleSize = 16 + 32

// handle returns the name by which a caller reaches its transaction. It is
// derived from the transaction's id, so that it need not be stored: who reads
// the store or the journal cannot make one.
func (v *vault) handle(ctx context.Context, transaction string) (string, error) {
	keys, err := v.ready(ctx)
	if err != nil {
		return "", err
	}
	return encodeHandle(transaction, keys[0].derive("handle", transaction)), nil
}

// transaction returns the id for which handle was made. Ok is false for
// everything that handle has never returned.
func (v *vault) transaction(ctx context.Context, handle string) (id string, ok bool, err error) {
	if len(handle) != base64.RawURLEncoding.EncodedLen(handleSize) {
		return "", false, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil || len(raw) != handleSize {
		return "", false, nil
	}
	keys, err := v.ready(ctx)
	if err != nil {
		return "", false, err
	}
	u := hex.EncodeToString(raw[:16])
	id = u[:8] + "-" + u[8:12] + "-" + u[12:16] + "-" + u[16:20] + "-" + u[20:]
	for _, key := range keys {
		if hmac.Equal(raw[16:], key.derive("handle", id)) {
			return id, true, nil
		}
	}
	return "", false, nil
}

func encodeHandle(transaction string, secret []byte) string {
	u, err := hex.DecodeString(strings.ReplaceAll(transaction, "-", ""))
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(append(u, secret...))
}

// statusPath returns the path of a transaction, for Location.
func (v *vault) statusPath(ctx context.Context, transaction string) (string, error) {
	handle, err := v.handle(ctx, transaction)
	if err != nil {
		return "", err
	}
	return statusPrefix + handle, nil
}

// cookieSecret is the value of the cookie that binds a browser to a transaction.
func (v *vault) cookieSecret(ctx context.Context, transaction string) (string, error) {
	return v.secretText(ctx, "cookie", transaction)
}

// formSecret is what forms of the waiting page carry, so that no other site can
// post them.
func (v *vault) formSecret(ctx context.Context, transaction string) (string, error) {
	return v.secretText(ctx, "form", transaction)
}

func (v *vault) secretText(ctx context.Context, purpose, transaction string) (string, error) {
	keys, err := v.ready(ctx)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(keys[0].derive(purpose, transaction)), nil
}

// cookieName is the name of the cookie that binds a browser to a transaction.
// The prefix has browsers take it from this very host over TLS only.
func cookieName(transaction string) string { return "__Host-ciba-" + transaction[:8] }
