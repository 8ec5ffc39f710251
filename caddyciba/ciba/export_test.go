package ciba

import "net/http/httptest"

// StartExampleProvider runs the fake provider for the examples, which see this
// package from outside. It approves at the second poll, one second after the
// first.
func StartExampleProvider() (issuer string, stop func()) {
	op := newFakeOP("")
	server := httptest.NewServer(op)
	op.issuer = server.URL
	op.on("/backchannel", sends(200, map[string]any{"auth_req_id": testAuthReqID, "expires_in": 60, "interval": 1}))
	op.onPolls(refuses(CodeAuthorizationPending), op.approve(nil))
	return server.URL, server.Close
}
