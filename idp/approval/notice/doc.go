// Package notice is the outbox of the notifications by which customers learn that
// a request waits for them.
//
// A notification is written to the store before it is first tried, so that it
// outlives the process, and any node that shares the store goes on with what
// another one has left. It is tried over channels, such as push messages and
// e-mail, in the order of the configuration. What fails for a reason that may pass
// is tried again a bounded number of times, for as long as the request waits.
// Nobody who asked for the request learns of any of it, nor has to wait for it.
//
// A node that dies between a channel's success and the note of it makes another
// one try that channel again. Channels give each attempt the same id where their
// medium has a place for one.
package notice
