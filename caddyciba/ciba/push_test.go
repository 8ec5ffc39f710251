package ciba

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// pushed returns the body of a push with tokens.
func pushed(t *testing.T, op *fakeOP, p *Pending, change func(claims, body map[string]any)) string {
	t.Helper()
	claims := op.claims()
	claims["at_hash"] = leftHash("ES256", testAccess)
	claims[claimAuthReqID] = p.AuthReqID
	claims[claimRTHash] = leftHash("ES256", "refresh-1")
	body := tokenAnswer("")
	body["auth_req_id"] = p.AuthReqID
	body["refresh_token"] = "refresh-1"
	if change != nil {
		change(claims, body)
	}
	if body["id_token"] == "" {
		body["id_token"] = forge(testKey, "ES256", nil, claims)
	}
	return encode(t, body)
}

// CIBA checklist I3, X1
func TestPush(t *testing.T) {
	for name, row := range map[string]struct {
		change func(claims, body map[string]any)
		status int
		code   string
	}{
		"tokens":              {nil, 204, ""},
		"no refresh token":    {func(c, b map[string]any) { delete(c, claimRTHash); delete(b, "refresh_token") }, 204, ""},
		"no at_hash":          {func(c, _ map[string]any) { delete(c, "at_hash") }, 400, CodeInvalidToken},
		"no auth_req_id":      {func(c, _ map[string]any) { delete(c, claimAuthReqID) }, 400, CodeInvalidToken},
		"no rt_hash":          {func(c, _ map[string]any) { delete(c, claimRTHash) }, 400, CodeInvalidToken},
		"another auth_req_id": {func(c, _ map[string]any) { c[claimAuthReqID] = "other" }, 400, CodeInvalidToken},
		"another token":       {func(_, b map[string]any) { b["access_token"] = "stolen" }, 400, CodeInvalidToken},
		"another refresh":     {func(_, b map[string]any) { b["refresh_token"] = "stolen" }, 400, CodeInvalidToken},
		"another audience":    {func(c, _ map[string]any) { c["aud"] = "other" }, 400, CodeInvalidToken},
		"no ID Token":         {func(_, b map[string]any) { b["id_token"] = nil }, 400, CodeInvalidResponse},
		// CIBA checklist X4: nobody has shown a key.
		"bound to a key":   {func(_, b map[string]any) { b["token_type"] = "DPoP" }, 400, CodeInvalidResponse},
		"another customer": {func(c, _ map[string]any) { c["sub"] = "mallory" }, 204, CodeMismatch},
		"denied":           {onlyError(CodeAccessDenied), 204, CodeAccessDenied},
		"expired":          {onlyError(CodeExpiredToken), 204, CodeExpiredToken},
		"failed":           {onlyError(CodeTransactionFailed), 204, CodeTransactionFailed},
		"pending":          {onlyError(CodeAuthorizationPending), 400, CodeInvalidResponse},
		"our own code":     {onlyError(CodeUnavailable), 400, CodeInvalidResponse},
		"error and tokens": {func(_, b map[string]any) { b["error"] = CodeAccessDenied }, 400, CodeInvalidResponse},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, op := deliveryClient(t, DeliveryPush)
				registry := NewRegistry(nil)
				p := start(t, c)
				registry.Add(p)
				go func() {
					time.Sleep(3 * time.Second)
					w := notify(PushHandler(c, registry), p.NotificationToken, pushed(t, op, p, row.change))
					if w.Code != row.status {
						t.Errorf("answered %d, want %d", w.Code, row.status)
					}
					// The first outcome counts.
					notify(PushHandler(c, registry), p.NotificationToken, pushed(t, op, p, nil))
				}()
				tokens, err := c.Wait(t.Context(), p, Check{Subject: testSubject}, nil)
				wantCode(t, err, row.code)
				if (tokens == nil) != (row.code != "") {
					t.Errorf("got tokens %v and error %v", tokens, err)
				}
				if len(op.seen("/token")) != 0 {
					t.Error("a push client polled")
				}
				synctest.Wait()
			})
		})
	}
}

func onlyError(code string) func(claims, body map[string]any) {
	return func(_, body map[string]any) {
		for name := range body {
			if name != "auth_req_id" {
				delete(body, name)
			}
		}
		body["error"] = code
		body["id_token"] = nil
	}
}

// A push that shows another token is not read.
func TestPushWithWrongBearer(t *testing.T) {
	c, op := deliveryClient(t, DeliveryPush)
	registry := NewRegistry(nil)
	p := start(t, c)
	registry.Add(p)
	w := notify(PushHandler(c, registry), "wrong", pushed(t, op, p, nil))
	if w.Code != http.StatusUnauthorized || len(p.pushed) != 0 {
		t.Errorf("answered %d", w.Code)
	}
}

// While the keys cannot be fetched nothing is decided, and the provider may try
// again.
func TestPushWithoutKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, op := deliveryClient(t, DeliveryPush)
		op.on("/backchannel", sends(200, map[string]any{"auth_req_id": "a", "expires_in": 86400}))
		registry := NewRegistry(nil)
		p := start(t, c)
		registry.Add(p)
		good := op.handlers["/jwks"]
		op.on("/jwks", writes(503, nil, ""))
		time.Sleep(2 * time.Hour)
		w := notify(PushHandler(c, registry), p.NotificationToken, pushed(t, op, p, nil))
		if w.Code != http.StatusServiceUnavailable || len(p.pushed) != 0 {
			t.Errorf("answered %d", w.Code)
		}
		op.on("/jwks", good)
		time.Sleep(time.Minute)
		w = notify(PushHandler(c, registry), p.NotificationToken, pushed(t, op, p, nil))
		if w.Code != http.StatusNoContent || len(p.pushed) != 1 {
			t.Errorf("answered %d", w.Code)
		}
	})
}

// Wait for a push ends with the request, with the context, and at once for a
// request that no push can reach.
func TestPushThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := deliveryClient(t, DeliveryPush)
		p := start(t, c)
		_, err := c.Wait(t.Context(), p, Check{}, nil)
		wantCode(t, err, CodeExpiredToken)
		_, err = c.Wait(t.Context(), &Pending{AuthReqID: "a", ExpiresAt: time.Now().Add(time.Hour)}, Check{}, nil)
		wantCode(t, err, CodeInvalidArgument)
	})
}
