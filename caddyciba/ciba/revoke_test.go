package ciba

import (
	"net/url"
	"testing"
)

func TestRevoke(t *testing.T) {
	c, op := newTestClient(t, nil)
	err := c.Revoke(t.Context(), "token-1", "access_token")
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{"token": {"token-1"}, "token_type_hint": {"access_token"}}
	call := op.seen("/revoke")[0]
	if call.form.Encode() != want.Encode() || call.header.Get("Authorization") == "" {
		t.Errorf("sent %v with header %v", call.form, call.header)
	}
}

func TestCancel(t *testing.T) {
	c, op := newTestClient(t, nil)
	err := c.Cancel(t.Context(), start(t, c))
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{"token": {testAuthReqID}, "token_type_hint": {"auth_req_id"}}
	if got := op.seen("/revoke")[0].form; got.Encode() != want.Encode() {
		t.Errorf("sent %v", got)
	}
}

func TestRevokeFailures(t *testing.T) {
	c, op := newTestClient(t, nil)
	wantCode(t, c.Revoke(t.Context(), "", ""), CodeInvalidArgument)
	op.on("/revoke", refuses("unsupported_token_type"))
	wantCode(t, c.Revoke(t.Context(), "token-1", ""), "unsupported_token_type")
	op.on("/revoke", writes(503, map[string]string{"Retry-After": "3"}, ""))
	wantCode(t, c.Revoke(t.Context(), "token-1", ""), CodeUnavailable)

	without, op := newTestClient(t, nil)
	md := op.metadata()
	delete(md, "revocation_endpoint")
	op.on("/.well-known/openid-configuration", sends(200, md))
	wantCode(t, without.Revoke(t.Context(), "token-1", ""), CodeUnsupported)
}

// Tokens that fail the check are given back, the refresh token first.
func TestWaitDiscardsTokens(t *testing.T) {
	c, op := newTestClient(t, nil)
	c.discard(t.Context(), &Tokens{AccessToken: "access-1", RefreshToken: "refresh-1"})
	calls := op.seen("/revoke")
	if len(calls) != 2 || calls[0].form.Get("token") != "refresh-1" || calls[1].form.Get("token") != "access-1" {
		t.Fatalf("sent %+v", calls)
	}
	_, err := c.Wait(t.Context(), start(t, c), Check{Subject: "somebody else"}, nil)
	wantCode(t, err, Code(err))
	if !IsMismatch(err) || len(op.seen("/revoke")) < 3 {
		t.Errorf("error %v, %d revocations", err, len(op.seen("/revoke")))
	}
}
