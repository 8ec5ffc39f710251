package interop_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// judge checks the token of a request: one that is bound to a key for the clients
// whose names say so, with a proof after RFC 9449 section 4.3, and a bearer token for
// all others.
func (b *bank) judge(r *http.Request) error {
	authorization, proofs := r.Header.Values("Authorization"), r.Header.Values("DPoP")
	if len(authorization) != 1 {
		return fmt.Errorf("there are %d tokens", len(authorization))
	}
	if !strings.HasPrefix(r.URL.Path, "/bound-") {
		if !strings.HasPrefix(authorization[0], "Bearer ") || len(proofs) != 0 {
			return errors.New("it came without a bearer token, or with a proof")
		}
		return nil
	}
	token, ok := strings.CutPrefix(authorization[0], "DPoP ")
	if !ok || len(proofs) != 1 {
		return fmt.Errorf("it came without a bound token, or with %d proofs", len(proofs))
	}
	htu := "https://" + r.Host + r.URL.Path
	if strings.HasPrefix(r.URL.Path, "/bound-ping/") {
		htu = b.URL + "/core" + r.URL.Path // what dpop_htu says
	}
	return b.judgeProof(proofs[0], r.Method, htu, token)
}

func (b *bank) judgeProof(proof, method, htu, token string) error {
	signed, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return err
	}
	header := signed.Signatures[0].Protected
	if header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() || header.ExtraHeaders["typ"] != "dpop+jwt" {
		return fmt.Errorf("the proof's header is %v", header)
	}
	payload, err := signed.Verify(header.JSONWebKey)
	if err != nil {
		return err
	}
	var claims struct {
		JTI, HTM, HTU, ATH string
		IAT                int64
	}
	err = json.Unmarshal(payload, &claims)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(token))
	age := time.Since(time.Unix(claims.IAT, 0))
	if claims.HTM != method || claims.HTU != htu || claims.ATH != base64.RawURLEncoding.EncodeToString(sum[:]) ||
		age < -2*time.Second || age > time.Minute {
		return fmt.Errorf("the proof is %s, want %s %s", payload, method, htu)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if claims.JTI == "" || b.proofs[claims.JTI] {
		return errors.New("the proof came before")
	}
	b.proofs[claims.JTI] = true
	return nil
}
