package provider_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

func (w *world) get(path string) *answer {
	w.t.Helper()
	return w.do(httptest.NewRequest(http.MethodGet, issuer+path, nil))
}

func (w *world) kids() []string {
	w.t.Helper()
	a := w.get("/jwks")
	a.want(w.t, 200, "")
	var kids []string
	for _, key := range a.body["keys"].([]any) {
		k := key.(map[string]any)
		if k["d"] != nil || k["use"] != "sig" || k["alg"] == "" {
			w.t.Errorf("published key: %v", k)
		}
		kids = append(kids, k["kid"].(string))
	}
	return kids
}

func TestKeysAreMadeOnce(t *testing.T) {
	w := newWorld(t, func(c *provider.Config) { c.SigningAlgs = []string{"ES256", "EdDSA"} })
	nodes := make([]*provider.Provider, 8)
	done := make(chan error, len(nodes))
	for i := range nodes {
		p, err := provider.New(w.cfg)
		if err != nil {
			t.Fatal(err)
		}
		nodes[i] = p
		go func() { done <- p.Start(context.Background()) }()
	}
	for range nodes {
		err := <-done
		if err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Join(w.kids(), " ")
	if len(w.kids()) != 2 {
		t.Fatalf("keys: %s", want)
	}
	for _, p := range append(nodes, w.Provider) {
		node := *w
		node.Provider = p
		if strings.Join(node.kids(), " ") != want {
			t.Errorf("nodes have different keys: %v, %s", node.kids(), want)
		}
		p.Close()
	}
}

func TestKeysAreEncrypted(t *testing.T) {
	first := bytes.Repeat([]byte{1}, 32)
	second := bytes.Repeat([]byte{2}, 32)
	w := newWorld(t, nil)
	stored := func() string {
		t.Helper()
		record, err := w.store.Get(t.Context(), "idp.keys", "ES256")
		if err != nil {
			t.Fatal(err)
		}
		return string(record.Data)
	}
	kid := w.kids()[0]
	if !strings.Contains(stored(), `"d":`) {
		t.Fatal("without an encryption key the key is expected as it is")
	}
	// A key that lies there unencrypted is encrypted once there is an encryption key.
	w.cfg.EncryptionKeys = [][]byte{first}
	w.restart()
	if w.kids()[0] != kid || strings.Contains(stored(), `"d":`) {
		t.Fatalf("key was not encrypted in place: %s", stored())
	}
	// Encryption keys can be changed.
	w.cfg.EncryptionKeys = [][]byte{second, first}
	w.restart()
	old := stored()
	if w.kids()[0] != kid {
		t.Error("another key after a change of the encryption key")
	}
	if stored() == old {
		t.Error("the key was not encrypted again by the new encryption key")
	}
	// Without the right one there is no service, and nothing is used up (threats T19).
	authReqID, id := w.start()
	w.mustApprove(id)
	for _, keys := range [][][]byte{{first}, nil} {
		w.cfg.EncryptionKeys = keys
		w.restart()
		w.poll("gateway", authReqID).want(t, 503, "temporarily_unavailable")
		w.get("/jwks").want(t, 503, "temporarily_unavailable")
		err := w.Start(t.Context())
		if err == nil {
			t.Error("started without keys")
		}
	}
	w.cfg.EncryptionKeys = [][]byte{second} // the old one can go
	w.restart()
	w.poll("gateway", authReqID).want(t, 200, "")
	w.poll("gateway", authReqID).want(t, 400, "invalid_grant")

	// What was sealed for one place does not open in another.
	record, err := w.store.Get(t.Context(), "idp.keys", "ES256")
	if err != nil {
		t.Fatal(err)
	}
	err = w.store.Create(t.Context(), &store.Record{Kind: "idp.keys", ID: "EdDSA", Data: record.Data})
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.SigningAlgs = []string{"EdDSA"}
	w.restart()
	w.get("/jwks").want(t, 503, "temporarily_unavailable")
}
