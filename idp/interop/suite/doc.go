// Package suite plays the part of the OpenID Foundation's conformance suite
// towards a provider: the client of the plan fapi-ciba-id1-test-plan, profile
// plain_fapi, with a statically registered client, for private_key_jwt and mtls,
// poll and ping. It is for tests, and was written from a description of what the
// plan demands. Passing it is no certification.
//
// Each module has the name that it has in the plan. Where the suite would merely
// warn, a module of this package fails.
//
// It shares no code with the CIBA client of the gateway, so that a mistake that
// is made on both sides of a connection does not go unnoticed.
package suite
