package idp

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/crypto/bcrypt"
)

// errNotHash tells what to do instead of what was done. It does not repeat the
// value, which may be the password itself.
var errNotHash = errors.New("must be a hash; make one with: caddy hash-password --algorithm argon2id")

// argon2Cost are the cost parameters of a PHC string as Caddy writes it.
var argon2Cost = regexp.MustCompile(`^\$argon2id\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,3}),p=([0-9]{1,3})\$[^$]+\$[^$]+$`)

// Bounds on the hashes that are taken. Below them a hash is no protection, and
// above them every sign-in is a denial of service.
const (
	minArgon2Memory = 8 << 10 // KiB
	maxArgon2Memory = 1 << 20 // KiB
	maxArgon2Passes = 64
	minArgon2Key    = 16 // bytes
	minArgon2Salt   = 8  // bytes
	minBcryptCost   = bcrypt.DefaultCost
)

// resolveHash resolves a configured hash of what a customer knows and checks it.
func resolveHash(repl *caddy.Replacer, what, configured string) (string, error) {
	hash, _, err := resolveSecret(repl, what, configured)
	if err != nil {
		return "", err
	}
	return hash, checkHash(what, hash)
}

// checkHash is checkPasswordHash with the name of the option in the error.
func checkHash(what, hash string) error {
	err := checkPasswordHash(hash)
	if err != nil {
		return fmt.Errorf("%s %w", what, err)
	}
	return nil
}

// checkPasswordHash accepts what `caddy hash-password` prints: argon2id in the
// PHC form, or bcrypt.
func checkPasswordHash(hash string) error {
	if strings.HasPrefix(hash, "$argon2id$") {
		return checkArgon2id(hash)
	}
	if !isBcrypt(hash) {
		return errNotHash
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return errNotHash
	}
	if len(hash) != 60 || cost < minBcryptCost {
		return fmt.Errorf("is a bcrypt hash that is malformed or whose cost is below %d; make one with: caddy hash-password --algorithm argon2id", minBcryptCost)
	}
	return nil
}

// checkArgon2id takes hashes only that can be computed: the argon2 package
// panics when passes or parallelism are zero.
func checkArgon2id(hash string) error {
	cost := argon2Cost.FindStringSubmatch(hash)
	_, key, err := caddyauth.DecodeHash([]byte(hash))
	if cost == nil || err != nil {
		return errNotHash
	}
	memory, _ := strconv.Atoi(cost[1])
	passes, _ := strconv.Atoi(cost[2])
	lanes, _ := strconv.Atoi(cost[3])
	salt := base64.RawStdEncoding.DecodedLen(len(strings.Split(hash, "$")[4]))
	if memory < minArgon2Memory || memory > maxArgon2Memory || passes < 1 || passes > maxArgon2Passes || lanes < 1 || lanes > 255 {
		return fmt.Errorf("is an argon2id hash of cost m=%d,t=%d,p=%d, which is outside of what is safe to use; make one with: caddy hash-password --algorithm argon2id", memory, passes, lanes)
	}
	if len(key) < minArgon2Key || salt < minArgon2Salt {
		return errors.New("is an argon2id hash with too short a salt or key; make one with: caddy hash-password --algorithm argon2id")
	}
	return nil
}

func isBcrypt(hash string) bool {
	return strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$")
}

// comparePassword reports whether hash was made from password.
func comparePassword(hash, password []byte) (bool, error) {
	if isBcrypt(string(hash)) {
		return caddyauth.BcryptHash{}.Compare(hash, password)
	}
	err := checkArgon2id(string(hash))
	if err != nil {
		return false, err
	}
	return caddyauth.Argon2idHash{}.Compare(hash, password)
}

// fakeHash returns a hash that no password matches and that costs as much to
// compare as hash does, so that the time of an answer does not tell whether a
// user exists. Without a hash it costs what Caddy's default costs.
func fakeHash(hash string) []byte {
	key := sha256.Sum256([]byte("this is the hash of nothing"))
	if isBcrypt(hash) {
		return []byte(hash[:7] + strings.Repeat("e", 22) + strings.Repeat("O", 31))
	}
	cost := argon2Cost.FindStringSubmatch(hash)
	if cost == nil {
		return caddyauth.Argon2idHash{}.FakeHash()
	}
	return fmt.Appendf(nil, "$argon2id$v=19$m=%s,t=%s,p=%s$%s$%s", cost[1], cost[2], cost[3],
		base64.RawStdEncoding.EncodeToString(key[:16]), base64.RawStdEncoding.EncodeToString(key[:]))
}
