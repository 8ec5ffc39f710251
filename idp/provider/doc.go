// Package provider is an OpenID Provider for client-initiated backchannel
// authentication (CIBA Core 1.0). It is a plain [net/http.Handler] over a
// [store.Store] and knows nothing of the server that it is mounted in.
//
// A client starts an authentication request at the backchannel authentication
// endpoint. The request is kept as one record, under the SHA-256 of its
// auth_req_id, and moves along these edges only, each of them one conditional
// write:
//
//	pending  → approved | denied | expired | cancelled
//	approved → redeemed
//
// The application that talks to the user lists and decides requests with
// [Provider.Pending], [Provider.Request], [Provider.Approve] and
// [Provider.Deny]. The client collects the tokens at the token endpoint, once.
// The state of the user and of the client is looked at again at each of the
// three steps: start, decision and redemption.
//
// Every endpoint, grant type and client authentication method has a file of its
// name. Errors leave the package in two ways only: as the sentinel errors of
// errors.go to Go callers, and as OAuth error documents by renderError.
//
// [store.Store]: https://pkg.go.dev/github.com/caddyciba/gateway/caddyciba/store#Store
package provider
