package idp

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

// factors makes the vault in which customers' passkeys, one-time codes and enrollment
// links are kept, sealed with the keys of the signing keys.
func (s *settings) factors(part store.Store) (*factor.Vault, error) {
	sealer, err := provider.NewSealer(s.EncryptionKeys, nil)
	if err != nil {
		return nil, err
	}
	issuer, err := url.Parse(s.Issuer)
	if err != nil {
		return nil, fmt.Errorf("parsing issuer: %w", err)
	}
	return factor.New(factor.Config{
		Store: part, Sealer: sealer, Name: s.Brand.Name,
		Origin: webOrigin(issuer),
	})
}

// webOrigin is the origin of a URL as browsers write it.
func webOrigin(u *url.URL) string {
	port := ":80"
	if u.Scheme == "https" {
		port = ":443"
	}
	return u.Scheme + "://" + strings.ToLower(strings.TrimSuffix(u.Host, port))
}
