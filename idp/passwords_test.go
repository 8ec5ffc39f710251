package idp

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/crypto/bcrypt"
)

func TestCheckPasswordHash(t *testing.T) {
	cheap, err := bcrypt.GenerateFromPassword([]byte(annaPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	argon2id := func(cost string) string {
		return "$argon2id$v=19$" + cost + "$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg"
	}
	for hash, want := range map[string]string{
		string(caddyauth.Argon2idHash{}.FakeHash()): "",
		string(caddyauth.BcryptHash{}.FakeHash()):   "",
		argon2id("m=19456,t=2,p=1"):                 "",
		argon2id("m=8192,t=1,p=255"):                "",

		"":                            "caddy hash-password --algorithm argon2id",
		"correct horse":               "caddy hash-password --algorithm argon2id",
		"$argon2id$":                  "caddy hash-password --algorithm argon2id",
		"$argon2i$v=19$m=1,t=1,p=1$":  "caddy hash-password --algorithm argon2id",
		"$2a$":                        "caddy hash-password --algorithm argon2id",
		"$2a$14$tooshort":             "caddy hash-password --algorithm argon2id",
		"$1$abc$def":                  "caddy hash-password --algorithm argon2id",
		string(cheap):                 "cost is below",
		argon2id("m=47104,t=0,p=1"):   "outside of what is safe", // argon2 panics
		argon2id("m=47104,t=1,p=0"):   "outside of what is safe", // argon2 panics
		argon2id("m=47104,t=1,p=256"): "caddy hash-password",     // wraps to 0
		argon2id("m=47104,t=100,p=1"): "outside of what is safe",
		argon2id("m=64,t=1,p=1"):      "outside of what is safe",
		argon2id("m=9999999,t=1,p=1"): "outside of what is safe",
		argon2id("t=1,m=47104,p=1"):   "caddy hash-password",
		"$argon2id$v=19$m=47104,t=1,p=1$c2FsdA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg": "too short",
		"$argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$c2FsdA":                      "too short",
		"$argon2id$v=16$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$c2FsdA":                      "caddy hash-password",
	} {
		err := checkPasswordHash(hash)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q is refused: %v", hash, err)
		case want != "" && err == nil:
			t.Errorf("%q is taken", hash)
		case want != "" && !strings.Contains(err.Error(), want):
			t.Errorf("%q: got %q, want %q", hash, err, want)
		case err != nil && hash != "" && strings.Contains(err.Error(), hash):
			t.Errorf("%q: the error repeats what may be a password: %v", hash, err)
		}
	}
}

func TestComparePassword(t *testing.T) {
	slow, err := bcrypt.GenerateFromPassword([]byte(annaPassword), bcrypt.DefaultCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{hashOf(annaPassword), string(slow)} {
		for password, want := range map[string]bool{annaPassword: true, "correct horsE": false, "": false} {
			got, err := comparePassword([]byte(hash), []byte(password))
			if err != nil || got != want {
				t.Errorf("%s: %q gives %v, %v", hash[:9], password, got, err)
			}
		}
	}
	_, err = comparePassword([]byte("correct horse"), []byte("correct horse"))
	if err == nil {
		t.Error("a password is compared with itself")
	}
}

// A hash for users that do not exist must cost what the others cost, or the
// time of an answer tells who exists.
func TestFakeHash(t *testing.T) {
	for hash, cost := range map[string]string{
		"": "$argon2id$v=19$m=47104,t=1,p=1$",
		"$argon2id$v=19$m=19456,t=2,p=3$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg": "$argon2id$v=19$m=19456,t=2,p=3$",
		"$2b$12$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6":                                      "$2b$12$",
	} {
		fake := fakeHash(hash)
		if !strings.HasPrefix(string(fake), cost) {
			t.Errorf("%q: %s has another cost", hash, fake)
		}
		if string(fake) == hash {
			t.Errorf("%q is its own fake", hash)
		}
		err := checkPasswordHash(string(fake))
		if err != nil {
			t.Errorf("%q: %s cannot be computed: %v", hash, fake, err)
		}
		same, err := comparePassword(fake, []byte(annaPassword))
		if same || err != nil {
			t.Errorf("%q: comparing gives %v, %v", hash, same, err)
		}
	}
}
