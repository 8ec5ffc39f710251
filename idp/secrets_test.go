package idp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/provider"
)

// threats.md C03
func TestSecretHash(t *testing.T) {
	const secret = "a secret of more than 22 bytes"
	file := filepath.Join(t.TempDir(), "secret")
	err := os.WriteFile(file, []byte(secret+"\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	const digits = "e5ff9b6ff1ee2cd3cf1a3cf9ee9b16bdc14b1e3f1a0a29e0a9f44f1df4f0ab10"
	t.Setenv("IDP_TEST_SECRET", secret)
	t.Setenv("IDP_TEST_SHORT", "short")
	t.Setenv("IDP_TEST_HASH", "sha256:"+digits)
	t.Setenv("IDP_TEST_BAD_HASH", "sha256:"+digits[1:])
	t.Setenv("IDP_TEST_EMPTY", "")
	hashed, err := decodeSecretHash(digits)
	if err != nil {
		t.Fatal(err)
	}
	for configured, want := range map[string]struct {
		hash         provider.SecretHash
		warning, err string
	}{
		"{env.IDP_TEST_SECRET}":                    {hash: provider.HashSecret(secret)},
		"{file." + file + "}":                      {hash: provider.HashSecret(secret)},
		"{env.IDP_TEST_HASH}":                      {hash: hashed},
		"sha256:" + digits:                         {hash: hashed},
		"sha256:" + strings.ToUpper(digits):        {hash: hashed},
		"{env.IDP_TEST_SHORT}":                     {hash: provider.HashSecret("short"), warning: "the secret is short"},
		secret:                                     {hash: provider.HashSecret(secret), warning: "written out in the config"},
		"braces {env.IDP_TEST_SECRET} are taken":   {hash: provider.HashSecret("braces {env.IDP_TEST_SECRET} are taken"), warning: "written out in the config"},
		"{env.IDP_TEST_EMPTY}":                     {err: "{env.IDP_TEST_EMPTY} stands for is missing or empty"},
		"{env.IDP_TEST_UNSET}":                     {err: "{env.IDP_TEST_UNSET} stands for is missing or empty"},
		"{file." + file + ".missing}":              {err: ".missing} stands for is missing or empty"},
		"sha256:" + digits[1:]:                     {err: "64 hexadecimal digits"},
		"sha256:" + strings.Repeat("g", 64):        {err: "64 hexadecimal digits"},
		"{env.IDP_TEST_BAD_HASH}":                  {err: "64 hexadecimal digits"},
		"sha256:" + hexOf(provider.HashSecret("")): {err: "hash of nothing"},
	} {
		hash, warning, err := secretHash(caddy.NewReplacer(), configured)
		if want.err != "" {
			if err == nil || !strings.Contains(err.Error(), want.err) {
				t.Errorf("%q: got error %v, want %q", configured, err, want.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", configured, err)
		}
		if hash != want.hash {
			t.Errorf("%q: the hash is wrong", configured)
		}
		if !strings.Contains(warning, want.warning) || (want.warning == "") != (warning == "") {
			t.Errorf("%q: got warning %q, want %q", configured, warning, want.warning)
		}
		if strings.Contains(warning, secret) {
			t.Errorf("%q: the warning repeats the secret", configured)
		}
	}
}

func TestEncryptionKey(t *testing.T) {
	t.Setenv("IDP_TEST_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	t.Setenv("IDP_TEST_SHORT", "c2hvcnQ=")
	t.Setenv("IDP_TEST_TEXT", "not base64!")
	key, err := encryptionKey(caddy.NewReplacer(), "{env.IDP_TEST_KEY}")
	if err != nil || string(key) != "0123456789abcdef0123456789abcdef" {
		t.Errorf("got %q, %v", key, err)
	}
	for _, configured := range []string{
		"{env.IDP_TEST_SHORT}", "{env.IDP_TEST_TEXT}", "{env.IDP_TEST_UNSET}",
		"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "",
	} {
		_, err := encryptionKey(caddy.NewReplacer(), configured)
		if err == nil {
			t.Errorf("%q is taken", configured)
		}
		if err != nil && strings.Contains(err.Error(), "MDEy") {
			t.Errorf("%q: the error repeats the key: %v", configured, err)
		}
	}
}
