package provider

import "net/http"

// serveJWKS answers with the public keys that verify our tokens (RFC 7517).
func (p *Provider) serveJWKS(w http.ResponseWriter, r *http.Request) error {
	set, err := p.keys(r.Context())
	if err != nil {
		return unavailable(err)
	}
	servePublic(w, set.jwks)
	return nil
}

// servePublic writes a document that anybody may read and keep for a while.
func servePublic(w http.ResponseWriter, body []byte) {
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff")
	writeBody(w, http.StatusOK, body)
}
