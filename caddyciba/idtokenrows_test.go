package caddyciba

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The rows R05 and R06 of the threat catalogue, through Caddy.
func TestBadIDTokens(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer alice\n\tmessage Transfer\n\tacr phr\n\tlimit off\n}\nreverse_proxy %s", op.URL, b.addr()))
	for _, row := range spellings(t, "testdata/badinput/idtoken.txt") {
		columns := strings.SplitN(row, "\t", 5)
		if len(columns) != 5 {
			t.Fatalf("%q has %d columns", row, len(columns))
		}
		t.Run(columns[0]+" "+columns[3]+" "+columns[4], func(t *testing.T) {
			now := time.Now()
			text := strings.NewReplacer(
				"{now-1h}", fmt.Sprint(now.Add(-time.Hour).Unix()), "{now+1h}", fmt.Sprint(now.Add(time.Hour).Unix()),
				"{now-7d}", fmt.Sprint(now.AddDate(0, 0, -7).Unix())).Replace(columns[4])
			var changes map[string]any
			err := json.Unmarshal([]byte(text), &changes)
			if err != nil {
				t.Fatal(err)
			}
			op.mu.Lock()
			op.claims = func(claims map[string]any) {
				for name, value := range changes {
					claims[name] = value
					if value == nil {
						delete(claims, name)
					}
				}
			}
			op.forge = forgers[columns[3]]
			op.mu.Unlock()
			before := len(b.received())
			got := s.post("/transfers", transfer)
			status, err := strconv.Atoi(columns[1])
			if err != nil || op.forge == nil {
				t.Fatalf("row %q, %v", row, err)
			}
			if columns[2] == "-" {
				if got.status != status || len(b.received()) != before+1 {
					t.Errorf("got %+v", got)
				}
				return
			}
			got.wantProblem(t, status, columns[2], false)
			b.wantCount(t, before)
		})
	}
}

// forgers sign an ID Token in other ways than it should be.
var forgers = map[string]func(op *fakeOP, token string) string{
	"good": func(_ *fakeOP, token string) string { return token },
	"none": func(_ *fakeOP, token string) string {
		return segment(`{"alg":"none"}`) + "." + strings.Split(token, ".")[1] + "."
	},
	"HS256": func(op *fakeOP, token string) string {
		input := segment(`{"alg":"HS256","kid":"k1"}`) + "." + strings.Split(token, ".")[1]
		mac := hmac.New(sha256.New, []byte(testClientSecret))
		mac.Write([]byte(input))
		return input + "." + segment(string(mac.Sum(nil)))
	},
	"broken": func(_ *fakeOP, token string) string {
		parts := strings.Split(token, ".")
		return parts[0] + "." + parts[1] + "." + segment(strings.Repeat("x", 64))
	},
	"other key": func(op *fakeOP, token string) string {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return ""
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
		if err != nil {
			return ""
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err != nil {
			return ""
		}
		signed, err := signer.Sign(payload)
		if err != nil {
			return ""
		}
		forged, err := signed.CompactSerialize()
		if err != nil {
			return ""
		}
		return forged
	},
}

func segment(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
