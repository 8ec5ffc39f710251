// Package factor keeps what customers prove with who they are: passkeys, one-time
// codes of an authenticator app (TOTP), recovery codes, and the one-time links by
// which somebody who has none of these gets the first.
//
// All of it is one record for each customer in the store, so that whatever happens
// once (the use of a code, of a link, of a passkey's counter) is one conditional
// write, on any number of nodes. Seeds of one-time codes are sealed with the
// provider's encryption keys; recovery codes and links are kept as hashes; of a
// passkey there is only the public key.
//
// A [Vault] is safe for concurrent use. It knows nothing of HTTP, pages or
// sessions, and decides nothing about what a factor is good for.
package factor
