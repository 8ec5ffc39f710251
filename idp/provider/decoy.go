package provider

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// decoyPrefix begins the subject of a decoy. No subject of a user has it.
const decoyPrefix = "\x01decoy\x01"

// decoy is who stands in for a user who does not exist or is disabled: somebody who
// is never asked, and lets every request expire. So a client can't try out who is a
// customer (threats B31, T21). A decoy has its requests counted like a user, and the
// same hint always leads to the same one.
func (p *Provider) decoy(h hint, disabled *User) *User {
	who := "login\x00" + foldLogin(h.login)
	switch {
	case disabled != nil && isSubject(disabled.ID):
		who = "subject\x00" + disabled.ID
	case h.subject != "":
		who = "subject\x00" + h.subject
	}
	sum := sha256.Sum256([]byte(who))
	return &User{
		ID:           decoyPrefix + base64.RawURLEncoding.EncodeToString(sum[:]),
		UserCodeHash: p.cfg.DecoyUserCodeHash,
	}
}

func isDecoy(subject string) bool { return strings.HasPrefix(subject, decoyPrefix) }
