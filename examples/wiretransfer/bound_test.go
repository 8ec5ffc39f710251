package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// provenKey verifies a request with a token that is bound to a key as RFC 9449
// section 7.1 wants an API to: the proof is of this request, of now, and by the key
// that the token names. It returns the thumbprint and the proof's identifier.
func provenKey(t *testing.T, a arrival, htu string) (key, id string) {
	t.Helper()
	claims := accessClaims(t, a, "DPoP")
	confirmation, _ := claims["cnf"].(map[string]any)
	proofs := a.header.Values("DPoP")
	if len(proofs) != 1 {
		t.Fatalf("there are %d proofs", len(proofs))
	}
	signed, err := jose.ParseSignedCompact(proofs[0], []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	jwk := signed.Signatures[0].Protected.JSONWebKey
	payload, err := signed.Verify(jwk)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var proof struct {
		JTI, HTM, HTU, ATH string
		IAT                int64
	}
	err = json.Unmarshal(payload, &proof)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	hash := sha256.Sum256([]byte(strings.TrimPrefix(a.header.Get("Authorization"), "DPoP ")))
	age := time.Since(time.Unix(proof.IAT, 0))
	if confirmation["jkt"] != text(sum[:]) || proof.ATH != text(hash[:]) || proof.HTM != a.method || proof.HTU != htu || proof.JTI == "" ||
		age < -2*time.Second || age > 30*time.Second {
		t.Errorf("the token is for key %v; the proof by %s is %s, want %s %s", confirmation["jkt"], text(sum[:]), payload, a.method, htu)
	}
	return text(sum[:]), proof.JTI
}

// TestBoundTokens has the provider bind every token to the gateway's key, and demand
// nonces, and looks at what the upstream gets: held, async, reused, and after the key
// was replaced.
func TestBoundTokens(t *testing.T) {
	newDirectory(t)
	w := newWorldOf(t, "features.Caddyfile")
	client := protocols()["h1"]
	ctx, cancel := context.WithTimeout(t.Context(), 2*scenarioTime)
	defer cancel()
	used := make(map[string]bool)
	// approved sends a request, has it approved, and returns the key that its token
	// is bound to.
	approved := func(path, n, htu string, header http.Header) string {
		t.Helper()
		h := w.send(ctx, client, request{method: "POST", target: path + "?n=" + n, body: "{}", header: header})
		w.decide(t, "Do "+n, decisionApprove)
		a, err := h.wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if a.status != http.StatusCreated && a.status != http.StatusAccepted {
			t.Fatalf("%s: %d: %s", path, a.status, a.body)
		}
		arrived := w.awaitArrival(t, "?n="+n)
		key, id := provenKey(t, arrived, htu)
		if used[id] {
			t.Errorf("%s: a proof was used twice", path)
		}
		used[id] = true
		return key
	}
	header := func(more ...string) http.Header {
		h := http.Header{"Content-Type": {"application/json"}, "Authorization": {"DPoP callers"}, "Dpop": {"callers"}}
		for i := 0; i < len(more); i += 2 {
			h.Set(more[i], more[i+1])
		}
		return h
	}
	first := approved("/bound/do/book", "b1", w.gateway+"/bound/do/book", header())
	if key := approved("/core/do/book", "b2", "https://core.bank.internal/legacy/core/do/book", header()); key != first {
		t.Error("two routes of one provider have two keys")
	}
	if key := approved("/bound/do/book", "b3", w.gateway+"/bound/do/book", header("Prefer", "respond-async")); key != first {
		t.Error("the key has changed")
	}

	// One approval, three requests, three proofs.
	covered := header()
	covered.Del("Dpop")
	request3 := request{method: "GET", header: covered}
	for i := range 3 {
		r := request3
		r.target = fmt.Sprintf("/covered/do/book?n=c%d", i)
		r.header = covered.Clone()
		r.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(alice+":"+customerPassword)))
		h := w.send(ctx, client, r)
		if i == 0 {
			w.decide(t, "Requests to "+strings.TrimPrefix(w.gateway, "http://")+", for 1 minute", decisionApprove)
		}
		a, err := h.wait(ctx)
		if err != nil || a.status != http.StatusCreated {
			t.Fatalf("covered: %v %+v", err, a)
		}
		_, id := provenKey(t, w.awaitArrival(t, fmt.Sprintf("?n=c%d", i)), w.gateway+"/covered/do/book")
		if used[id] {
			t.Error("a proof was used twice")
		}
		used[id] = true
	}

	// A new key.
	resp, err := http.Post(w.admin+"/ciba/dpop-key/rotate", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var rotated []struct{ Issuer, Thumbprint string }
	err = json.NewDecoder(resp.Body).Decode(&rotated)
	if err != nil || len(rotated) != 1 || rotated[0].Issuer != w.provider || rotated[0].Thumbprint == first {
		t.Fatalf("rotated: %v %v", rotated, err)
	}
	if key := approved("/bound/do/book", "b4", w.gateway+"/bound/do/book", header()); key != rotated[0].Thumbprint {
		t.Errorf("the token is bound to %s, the new key is %s", key, rotated[0].Thumbprint)
	}
	r := request{method: "GET", target: "/covered/do/book?n=c9", header: http.Header{
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(alice+":"+customerPassword))},
	}}
	a, err := w.do(ctx, client, r)
	if err != nil || a.status != http.StatusCreated {
		t.Fatalf("covered: %v %+v", err, a)
	}
	if key, _ := provenKey(t, w.awaitArrival(t, "?n=c9"), w.gateway+"/covered/do/book"); key != first {
		t.Error("an earlier approval has another key than its token")
	}
}

// awaitArrival returns the one request with the suffix.
func (w *world) awaitArrival(t *testing.T, suffix string) arrival {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		arrived := w.upstream.arrivals(suffix)
		if len(arrived) == 1 {
			return arrived[0]
		}
		if len(arrived) > 1 || time.Now().After(deadline) {
			t.Fatalf("%d requests %s reached the upstream", len(arrived), suffix)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
