// Package caddyciba is the Caddy side of the gateway: it puts the engine of
// held requests (package stepup) and the CIBA client (package ciba) into Caddy.
//
// An operator writes one directive in front of a reverse proxy. From then on,
// a request that the directive matches is held until the customer whom it
// concerns has approved it on their phone. It is then passed on once, byte for
// byte as it was approved, with the customer's access token. The API behind it
// does not change.
//
//	api.example.com {
//		@risky method POST PUT PATCH DELETE
//		ciba @risky https://id.example.com
//		reverse_proxy legacy:8080
//	}
//
// # Modules
//
//	ciba                              the app: store, named providers  (App)
//	http.handlers.ciba                the gate                         (Handler)
//	http.handlers.ciba_strict_target  one meaning per request          (StrictTarget)
//	http.handlers.ciba_notify         pings and pushes of providers    (Notify)
//	http.handlers.ciba_ready          whether the gateway can work     (Ready)
//	admin.api.ciba                    transactions and checks, for operators and
//	                                  for the command caddy ciba
//
// # Placeholders
//
// In the settings customer and message of a gate:
//
//	{ciba.body.PATH}          a field of the JSON body, as in creditor.name
//	                          or items.0.amount; missing ones refuse the request
//	{http.*}, {env.*}, …      all of Caddy's own, but unknown and empty ones
//	                          refuse the request
//
// On approved requests, for the handlers behind the gate and logs:
//
//	{http.ciba.transaction}   the transaction's identifier
//	{ciba.claims.NAME}        a claim of the customer's ID Token
//
// On refusals, for error routes and logs:
//
//	{http.ciba.error}         the kind of problem, such as approval-denied
//	{http.ciba.title}         the kind in words
//	{http.ciba.detail}        what it means for this request
//	{http.ciba.state}         the state of the transaction
//	{http.ciba.transaction}   the transaction's identifier
//	{http.ciba.retry_after}   seconds, or 0
//
// The access log gets the fields ciba_transaction and ciba_error.
//
// # Events
//
// The app emits ciba_requested, ciba_approved, ciba_denied, ciba_expired,
// ciba_cancelled, ciba_failed, ciba_sent, ciba_answered, ciba_in_doubt,
// ciba_refused, ciba_passed, ciba_reused, ciba_challenged and ciba_reported. Handlers run while the request waits, so they should be quick.
//
// # Reloads
//
// Caddy cleans a handler up while its requests are still being served. All that
// a held request needs is therefore in a pool of gates that outlive
// configurations: one reference per handler and one per request. Waiting is on
// the request's own context. What happens to a request is reported to the newest
// configuration, whichever one holds it.
package caddyciba
