package suite

import (
	"net/http"
	"time"
)

// watch is how long the suite looks out for a second notification.
const watch = 15 * time.Second

// misbehaving is a module in which the notification endpoint answers as it should
// not, and the flow completes all the same. Nothing more must come afterwards.
func misbehaving(name string, answer reply) Module {
	return Module{Name: "fapi-ciba-id1-ping-" + name, mode: ModePing, run: func(r *run) {
		r.inbox.behave(answer)
		r.flow(r.first)
		r.Sleep(watch)
		r.expectNoNotification(r.Watch)
	}}
}

func pingModules() []Module {
	return []Module{
		misbehaving("backchannel-notification-endpoint-response-has-body", reply{status: http.StatusOK, body: `{"nobody":"reads this"}`}),
		misbehaving("backchannel-notification-endpoint-response-401", reply{status: http.StatusUnauthorized}),
		misbehaving("backchannel-notification-endpoint-response-403", reply{status: http.StatusForbidden}),
		misbehaving("with-mtls-ciba-notification-endpoint-response-401-and-require-server-does-not-retry", reply{status: http.StatusUnauthorized}),
		misbehaving("backchannel-notification-endpoint-return-redirect-request", reply{status: http.StatusMovedPermanently, location: pathInvalid}),
	}
}
