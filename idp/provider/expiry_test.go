package provider_test

import (
	"net/http"
	"testing"
	"time"
)

// CIBA checklist P1: a ping client is told when its request has expired.
func TestPingAtExpiry(t *testing.T) {
	w, calls := pingWorld(t, answerWith(http.StatusNoContent))
	authReqID, _ := w.start("client_notification_token", notificationToken)
	w.clock.advance(299 * time.Second)
	noCall(t, calls)
	w.clock.advance(time.Second)
	call := nextCall(t, calls)
	if call.body != `{"auth_req_id":"`+authReqID+`"}` {
		t.Errorf("ping %+v", call)
	}
	w.poll("gateway", authReqID).want(t, 400, "expired_token")
	noCall(t, calls)
}

// A request that has expired while no node was there is told of by the next one.
func TestExpiryAfterDowntime(t *testing.T) {
	w, calls := pushWorld(t, answerWith(http.StatusNoContent))
	authReqID, _ := w.startPush()
	w.Provider.Close()
	w.clock.advance(8 * time.Minute)
	w.restart()
	err := w.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body := pushed(t, nextCall(t, calls))
	if body["auth_req_id"] != authReqID || body["error"] != "expired_token" {
		t.Errorf("pushed %v", body)
	}
}
