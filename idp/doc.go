// Package idp is the CIBA identity provider as Caddy modules: the handler
// `http.handlers.ciba_idp`, which serves an OpenID Provider and the customer's
// approval app, and the app `ciba_idp`, which starts what the handlers share.
//
// It is a thin adapter. The OpenID Provider is package idp/provider, the
// approval app is package idp/approval; neither knows Caddy. This package turns
// a Caddyfile or JSON config into their settings, resolves secrets, hands
// requests to them, and makes them outlive a config reload.
//
// # What a reload keeps
//
// Pending requests, sessions and signing keys are records in a store, and the
// store stays open as long as any config or any request uses it. What is kept
// in memory only, such as counters of failed sign-ins, lives in a pool under a
// hash of all settings that shape it: a config that changes none of them finds
// it again. A request that is being served holds its own reference, so that
// Caddy's cleanup of an old config takes nothing away from it.
//
// # What validation does
//
// `caddy validate` runs Provision. Provision therefore reads secrets and key
// files but opens no store, writes no file and makes no key; the app does that
// when it starts.
package idp
