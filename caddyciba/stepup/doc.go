// Package stepup is the engine of a held request. A [Gate] takes a request that
// needs a customer's approval, freezes it, asks the customer through a CIBA
// OpenID Provider, and sends it on with the customer's access token, at most
// once and byte for byte as it was approved.
//
// It needs net/http alone and knows nothing of the server that it runs in: the
// adapter supplies the [Route], and the handler behind the gate as a [Next].
//
// The decision path is one function per step, in the order of their cost and
// of what must not be reached before what:
//
//	CheckTarget   the request-target has one spelling only
//	Clean         nothing of the caller's can pass for something of ours
//	snapshot      the whole request is in memory; only this goes on
//	Route.Ask     who is asked, and what they are shown
//	limits        a place for the held request
//	held          a transaction exists in the journal
//	requested     the customer is asked
//	approved      the provider's answer was checked
//	sending       the upstream may see the request from here on, once
//	answered      the upstream's answer was passed to the caller
//
// Every refusal is a [*Refusal] and [WriteProblem] is the only place that
// renders one. Every change of state is one conditional write in the store,
// made before the act that it permits; see [State] and [Journal].
package stepup
