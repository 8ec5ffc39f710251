package caddyciba

import (
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// Bounds of how long and how much is kept of requests that outlive their
// connection.
const (
	minRetention = time.Minute
	maxRetention = 30 * 24 * time.Hour
	maxMaxResult = 32 << 20
)

// checkMode finds mistakes in how callers wait.
func (h *Handler) checkMode() error {
	if !h.mode().Known() {
		return fmt.Errorf("mode must be auto, hold, redirect or async, got '%s'", h.Mode)
	}
	retention := time.Duration(h.Retention)
	if retention != 0 && (retention < minRetention || retention > maxRetention) {
		return fmt.Errorf("retention must be between %s and %s, got %s", minRetention, maxRetention, retention)
	}
	if h.MaxResult < 0 || h.MaxResult > maxMaxResult {
		return fmt.Errorf("max_result must be between 1 and %d bytes", maxMaxResult)
	}
	return nil
}

// holdsCallers reports whether a caller can be kept waiting on its connection.
func (h *Handler) holdsCallers() bool {
	return h.mode() == stepup.ModeAuto || h.mode() == stepup.ModeHold
}

// modeArg reads how callers wait.
func modeArg(d *caddyfile.Dispenser, h *Handler) error {
	if !d.AllArgs(&h.Mode) {
		return d.ArgErr()
	}
	err := h.checkMode()
	if err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// retentionArg reads how long answers are kept.
func retentionArg(d *caddyfile.Dispenser, h *Handler) error {
	err := durationArg(d, &h.Retention)
	if err != nil {
		return err
	}
	err = h.checkMode()
	if err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// maxResultArg reads how long an answer may be to be kept.
func maxResultArg(d *caddyfile.Dispenser, h *Handler) error {
	err := sizeArg(d, &h.MaxResult)
	if err != nil {
		return err
	}
	err = h.checkMode()
	if err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// flagArg reads an option that has no value.
func flagArg(d *caddyfile.Dispenser, field *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*field = true
	return nil
}

// errEncryptionKey refuses an encryption key in the configuration itself.
var errEncryptionKey = errors.New("encryption_key must be a placeholder, {env.NAME} or {file.PATH}, and not the key itself")

// encryptionKeyArg reads where the encryption keys are.
func encryptionKeyArg(d *caddyfile.Dispenser, a *App) error {
	if a.EncryptionKeys != nil {
		return d.Err("encryption_key already specified")
	}
	a.EncryptionKeys = d.RemainingArgs()
	if len(a.EncryptionKeys) == 0 {
		return d.ArgErr()
	}
	for _, key := range a.EncryptionKeys {
		if !isReference(key) {
			return d.WrapErr(errEncryptionKey)
		}
	}
	return nil
}

// encryptionKeys resolves the encryption keys, of which there may be none.
func (a *App) encryptionKeys() ([][]byte, error) {
	var keys [][]byte
	for _, reference := range a.EncryptionKeys {
		if !isReference(reference) {
			return nil, errEncryptionKey
		}
		encoded, _, err := resolveSecret("encryption_key", reference)
		if err != nil {
			return nil, err
		}
		key, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil || len(key) != 32 {
			return nil, errors.New("encryption_key must be 32 bytes in base64; make one with: openssl rand -base64 32")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// appOf returns the app of the configuration that is being provisioned.
func appOf(ctx caddy.Context) (*App, error) {
	module, err := ctx.App("ciba")
	if err != nil {
		return nil, err
	}
	app, ok := module.(*App)
	if !ok {
		return nil, fmt.Errorf("app ciba is a %T", module)
	}
	return app, nil
}
