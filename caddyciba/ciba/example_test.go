package ciba_test

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// A teller's program asks the customer alice to approve a transfer, waits for
// her decision, and learns who approved and how.
func Example() {
	issuer, stop := ciba.StartExampleProvider()
	defer stop()

	client, err := ciba.NewClient(ciba.Config{
		Issuer:   issuer, // for example https://id.example.com
		ClientID: "gateway",
		Auth:     ciba.ClientSecretBasic("s3cret"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	pending, err := client.Start(ctx, ciba.Request{
		Scope:           []string{"openid", "profile", "my_wire_transfer_scope"},
		LoginHint:       "alice",
		BindingMessage:  "W4SCT",
		RequestedExpiry: time.Minute,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The first poll may come at once; by default it comes one interval later.
	pending.NextPoll = time.Now()

	tokens, err := client.Wait(ctx, pending, ciba.Check{ACR: []string{"phr"}}, func(attempt int, err error) {
		fmt.Printf("poll %d: pending=%t\n", attempt, ciba.IsPending(err))
	})
	switch {
	case ciba.IsDenied(err), ciba.IsExpired(err):
		fmt.Println("not approved")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println("approved by", tokens.Claims.Subject, "with", tokens.Claims.AMR)
		// request.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
	}
	// Output:
	// poll 1: pending=true
	// poll 2: pending=false
	// approved by 248289761001 with [hwk user]
}
