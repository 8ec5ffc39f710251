// Package webpush tells customers by a push message to their browsers that a request
// waits for them (RFC 8030, encrypted by RFC 8291, sent under the name of the
// operator by RFC 8292).
//
// A message says nothing but that it is there: what waits is shown by the app, after
// signing in. Subscriptions are kept in the store, a few for each customer; one that
// its push service no longer knows is forgotten.
package webpush
