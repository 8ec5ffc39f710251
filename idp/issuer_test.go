package idp

import (
	"strings"
	"testing"
)

// threats.md C01
func TestCheckIssuer(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://id.example.com":          "",
		"https://id.example.com:8443":     "",
		"https://example.com/id":          "",
		"https://example.com/tenants/one": "",
		"http://localhost:8480":           "",
		"http://127.0.0.1:8480":           "",
		"http://[::1]:8480/id":            "",

		"":                               "an issuer is required",
		"id.example.com":                 "must be an https URL",
		"ftp://id.example.com":           "must be an https URL",
		"http://id.example.com":          "must use https",
		"http://localhost.example.com":   "must use https",
		"http://127.0.0.1.nip.io":        "must use https",
		"https://":                       "no host",
		"https:id.example.com":           "no host",
		"https://id.example.com/":        "end with a slash",
		"https://id.example.com/id/":     "end with a slash",
		"https://id.example.com//id":     "plain path",
		"https://id.example.com/a/../b":  "plain path",
		"https://id.example.com/a%2fb":   "plain path",
		"https://id.example.com?a=b":     "neither query nor fragment",
		"https://id.example.com?":        "neither query nor fragment",
		"https://id.example.com#":        "neither query nor fragment",
		"https://id.example.com#a":       "neither query nor fragment",
		"https://ID.example.com":         "lower case",
		"https://id.example.com:443":     "default port",
		"http://localhost:80":            "default port",
		"https://id.example.com:":        "default port",
		"https://{host}":                 "placeholder",
		"https://{env.HOST}":             "placeholder",
		"https://me@id.example.com":      "user name",
		"https://me:pass@id.example.com": "user name",
		"HTTPS://id.example.com":         "spelled as",
		"https://id.example.com/ü":       "plain path",
		"https://id.example.com\n":       "not a URL",
		"https://id.example.com/a b":     "plain path",
	} {
		err := checkIssuer(issuer)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q is refused: %v", issuer, err)
		case want != "" && err == nil:
			t.Errorf("%q is taken", issuer)
		case want != "" && !strings.Contains(err.Error(), want):
			t.Errorf("%q: got %q, want %q", issuer, err, want)
		case err != nil && strings.Contains(err.Error(), "pass@"):
			t.Errorf("%q: the error repeats the password: %v", issuer, err)
		}
	}
}
