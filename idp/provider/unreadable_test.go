package provider_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// What is wrong with one record does not stop the calls of other clients, nor the
// expiry of their requests.
func TestUnreadableRecordsAreLeftOut(t *testing.T) {
	w, calls := pingWorld(t, answerWith(204))
	slot := w.clock.Now().Add(5*time.Minute).Unix() / 10
	denied, err := provider.StoredInState(provider.StateDenied)
	if err != nil {
		t.Fatal(err)
	}
	for id, data := range map[string][]byte{"-": []byte("{"), "--": denied} { // before all others
		err := w.store.Create(t.Context(), &store.Record{
			Kind: "idp.request", ID: id, Data: data,
			Indexes: []store.Index{{Name: "outbox", Value: "callback"}, {Name: "expiring", Value: strconv.FormatInt(slot, 10)}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, id := w.start("client_notification_token", notificationToken)
	w.mustApprove(id)
	nextCall(t, calls)
	w.start("client_notification_token", notificationToken)
	w.clock.advance(5 * time.Minute)
	nextCall(t, calls)
}
