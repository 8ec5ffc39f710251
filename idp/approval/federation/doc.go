// Package federation lets customers prove who they are at another OpenID Provider: by
// the authorization code flow of OpenID Connect Core 1.0 with PKCE (RFC 7636), state,
// nonce, and the issuer in the answer (RFC 9207).
//
// It finds out who somebody is over there, how they proved it and when. Who that is
// here is for the caller to say. Everything that is missing or does not fit is an
// error.
package federation
