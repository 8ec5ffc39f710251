package factor

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// linkSize is the size of an enrollment token in bytes.
const linkSize = 32

// linkRecord is an open enrollment link. The token itself is nowhere.
type linkRecord struct {
	Hash    []byte `json:"hash"`
	Expires int64  `json:"expires"`
	Browser []byte `json:"browser,omitempty"` // hash of the one that opened it first
}

// OpenLink is an enrollment link that was opened in a browser.
type OpenLink struct {
	// Subject is the customer whom the link is for.
	Subject string

	token, browser []byte
}

func linkHash(token []byte) []byte {
	sum := sha256.Sum256(append([]byte("enrollment link\x00"), token...))
	return sum[:]
}

func linkIndex(hash []byte) store.Index {
	return store.Index{Name: indexLink, Value: base64.RawURLEncoding.EncodeToString(hash)}
}

// NewLink returns a new enrollment token for a customer, in base64url, good until it
// is used or the time is over. A link that was open before is void.
func (v *Vault) NewLink(ctx context.Context, subject string, life time.Duration) (token string, expires time.Time, err error) {
	raw := make([]byte, linkSize)
	_, err = io.ReadFull(v.cfg.Rand, raw)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("reading randomness: %w", err)
	}
	expires = v.cfg.Now().Add(life)
	err = v.change(ctx, subject, func(h *held) (bool, error) {
		h.Link = &linkRecord{Hash: linkHash(raw), Expires: expires.Unix()}
		return true, nil
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return base64.RawURLEncoding.EncodeToString(raw), expires, nil
}

// CancelLink closes an open enrollment link. It returns ErrNotFound if there is none.
func (v *Vault) CancelLink(ctx context.Context, subject string) error {
	return v.change(ctx, subject, func(h *held) (bool, error) {
		if h.Link == nil {
			return false, ErrNotFound
		}
		h.Link = nil
		return true, nil
	})
}

// OpenLink opens an enrollment link in a browser, which is known by a secret of its
// own. From then on the link is of no use in any other browser. It returns ErrWrong
// for a token that is none, was used, has expired or was opened elsewhere: whoever
// tries it learns no more.
func (v *Vault) OpenLink(ctx context.Context, token string, browser []byte) (*OpenLink, error) {
	if len(token) != base64.RawURLEncoding.EncodedLen(linkSize) {
		return nil, ErrWrong
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return nil, ErrWrong
	}
	found, err := v.find(ctx, linkIndex(linkHash(raw)))
	if errors.Is(err, ErrNotFound) {
		return nil, ErrWrong
	}
	if err != nil {
		return nil, err
	}
	link := &OpenLink{Subject: found.subject, token: raw, browser: linkHash(browser)}
	err = v.change(ctx, found.subject, func(h *held) (bool, error) {
		if h.Link != nil && h.Link.Browser == nil {
			h.Link.Browser = link.browser
			return true, h.checkLink(link, v.cfg.Now())
		}
		return false, h.checkLink(link, v.cfg.Now())
	})
	if err != nil {
		return nil, err
	}
	return link, nil
}

// checkLink returns ErrWrong unless the link is the open one, and open in this
// browser.
func (h *held) checkLink(link *OpenLink, now time.Time) error {
	if h.Link == nil || now.Unix() >= h.Link.Expires ||
		subtle.ConstantTimeCompare(h.Link.Hash, linkHash(link.token)) != 1 ||
		subtle.ConstantTimeCompare(h.Link.Browser, link.browser) != 1 {
		return ErrWrong
	}
	return nil
}

// consumeLink uses the link up with the write that it is part of.
func (h *held) consumeLink(link *OpenLink, now time.Time) error {
	err := h.checkLink(link, now)
	if err != nil {
		return err
	}
	h.Link = nil
	return nil
}
