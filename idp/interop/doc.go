// Package interop has no code of its own. Its tests run the provider over real
// TLS against clients that were written elsewhere, or apart from it:
//
//   - openid-client, the most used client for Node.js, in testdata/openid-client;
//   - go-oidc, as the judge of its discovery, keys and ID Tokens;
//   - the modules of the OpenID Foundation's FAPI-CIBA plan for providers, which
//     are in package suite.
//
// The tests with Node.js are skipped where it is missing; run
//
//	npm ci --prefix idp/interop/testdata/openid-client
//
// for them. With CIBA_REQUIRE_NODE set they fail instead.
package interop
