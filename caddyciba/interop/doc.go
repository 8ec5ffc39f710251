// Package interop has no code of its own. Its tests run the gateway, in a real
// Caddy and over real TLS, against providers that were written elsewhere, or apart
// from it:
//
//   - the modules of the OpenID Foundation's FAPI-CIBA plan for clients
//     (fapi-ciba-id1-client-test-plan), played by a provider in the tests, for
//     private_key_jwt and mtls, poll and ping;
//   - oidc-provider for Node.js, in testdata/oidc-provider.
//
// The tests with Node.js are skipped where it is missing; run
//
//	npm ci --prefix caddyciba/interop/testdata/oidc-provider
//
// for them. With CIBA_REQUIRE_NODE set they fail instead.
package interop
