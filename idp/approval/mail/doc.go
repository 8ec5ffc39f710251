// Package mail tells customers by e-mail that a request waits for them.
//
// A message is text and HTML without anything to be loaded from elsewhere. By
// itself it says that something waits, until when, and where the app is; templates
// of the operator can say it in other words. It holds no secret, and nothing in it
// decides anything: the customer has to sign in.
package mail
