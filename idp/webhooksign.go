package idp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Signatures of webhooks, as Standard Webhooks 1.0 describes them.
const (
	headerWebhookID        = "webhook-id"
	headerWebhookTimestamp = "webhook-timestamp"
	headerWebhookSignature = "webhook-signature"

	webhookSecretPrefix = "whsec_"
	minWebhookSecret    = 24 // bytes
)

var (
	errWebhookSecretLiteral = errors.New("webhook secret must be a placeholder, {env.NAME} or {file.PATH}, and not the secret itself")
	errWebhookSecret        = errors.New("webhook secret must be of at least 24 bytes, as they are or in base64 behind whsec_; make one with: openssl rand -base64 32")
)

// webhookSecret resolves a secret that signs webhooks.
func webhookSecret(repl *caddy.Replacer, configured string) ([]byte, error) {
	if !isReference(configured) {
		return nil, errWebhookSecretLiteral
	}
	resolved, _, err := resolveSecret(repl, "webhook secret", configured)
	if err != nil {
		return nil, err
	}
	secret := []byte(resolved)
	encoded, prefixed := strings.CutPrefix(resolved, webhookSecretPrefix)
	if prefixed {
		secret, err = base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, errWebhookSecret
		}
	}
	if len(secret) < minWebhookSecret {
		return nil, errWebhookSecret
	}
	return secret, nil
}

// sign adds the headers by which the receiver knows who has sent a body, and when.
func sign(header http.Header, secrets [][]byte, id string, at time.Time, body []byte) {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	var signatures []string
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	header.Set(headerWebhookID, id)
	header.Set(headerWebhookTimestamp, timestamp)
	header.Set(headerWebhookSignature, strings.Join(signatures, " "))
}
