// Package bank is a small core banking API of the kind that has been running
// for twenty years: JSON over HTTP, accounts, transfers, and a ledger that
// forgets nothing. It is written with net/http alone and knows nothing of CIBA.
// It books every transfer that reaches it, also the same one twice, so its
// ledger shows what a gateway in front of it let through.
//
// The one thing it has learned since is to read a Bearer token: GET /identity
// answers with the claims of the access token that came with the request.
package bank
