// Package approval is the web app in which a customer decides about requests:
// sign in, see what waits, read one request, approve it (perhaps in part) or
// deny it. It is rendered on the server, works without JavaScript, loads
// nothing from anywhere else, and talks to the OpenID Provider of package
// provider through the small interface [Provider].
//
// [New] checks a [Config] and does no I/O. [App] is an http.Handler, safe for
// concurrent use, which keeps sessions and attempt counters in the store and
// nothing that matters in memory, so that any number of nodes can serve one
// customer.
//
// # How a decision is guarded
//
// Every answer carries a content security policy that allows this origin's own
// files and nothing else, and no page may be framed. A form is only taken when
// the browser says that it comes from this origin (Sec-Fetch-Site or Origin;
// one of them must be there) and when it carries a token that is bound to the
// session and to the one request that it decides. What is single, a decision,
// is one conditional write in the provider. A request with a match code takes the
// number that the caller's screen shows besides; three wrong ones deny it.
//
// # What is the operator's
//
// Name and color come from [Brand], pages and style from Config.Templates. New tries
// them out: a color that cannot be read and a page on which nobody can deny are errors.
//
// # Words
//
// Text from outside (what a caller wrote, what a client is called) never
// enters a sentence of ours. It stands in its own element, isolated with <bdi>,
// with control characters made visible and with a remark where it could
// deceive. See [Text].
package approval
