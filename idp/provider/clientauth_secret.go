package provider

import "crypto/subtle"

// checkSecret compares a secret with those of the client, in a time that tells
// neither where they differ nor whether there is such a client.
func checkSecret(c *client, secret string) error {
	hashes := []SecretHash{{}} // compared with for an unknown client
	known := c != nil && !c.Disabled
	if known && len(c.SecretHashes) > 0 {
		hashes = c.SecretHashes
	}
	given := HashSecret(secret)
	equal := 0
	for i := range hashes {
		equal |= subtle.ConstantTimeCompare(given[:], hashes[i][:])
	}
	switch {
	case !known:
		return errUnknownClient
	case equal != 1:
		return errWrongSecret
	}
	return nil
}
