// Package ciba is a client for OpenID Connect Client-Initiated Backchannel
// Authentication (CIBA Core 1.0): a program asks a provider to ask a customer,
// on the customer's own device, and gets the customer's tokens once they have
// approved. It needs nothing but net/http and can be used without the rest of
// this module.
//
// Make one [Client] for each provider and share it. Ask with [Client.Start] and
// wait with [Client.Wait]:
//
//	client, err := ciba.NewClient(ciba.Config{
//		Issuer:   "https://id.example.com",
//		ClientID: "teller",
//		Auth:     ciba.ClientSecretBasic(secret),
//	})
//	…
//	pending, err := client.Start(ctx, ciba.Request{
//		Scope:          []string{"openid", "profile"},
//		LoginHint:      "alice",
//		BindingMessage: "W4SCT",
//	})
//	…
//	tokens, err := client.Wait(ctx, pending, ciba.Check{}, nil)
//	switch {
//	case ciba.IsDenied(err), ciba.IsExpired(err):
//		// the customer said no, or nothing
//	case err == nil:
//		request.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
//	}
//
// # What is verified
//
// Metadata must be about the configured issuer to the letter, and its endpoints
// must be https. Answers must be JSON without repeated names. The ID Token must
// be signed by a key of the provider, by an allowed algorithm, for this client
// (further audiences only with a matching azp), now (exp, iat, nbf), and for this
// request where it says so (at_hash and the claims of CIBA). No token is handed
// out otherwise. Whom the token has to be about and how they must have been
// authenticated is for the caller to say, by [Check].
//
// # What is not done
//
// No redirect is followed, no proxy of the environment is used, no cookie is
// kept. A request for approval is never repeated. Descriptions that a provider
// attaches to errors are kept apart from the text of errors and must not be
// shown to callers.
package ciba
