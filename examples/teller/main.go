// Command teller is the console client of the CIBA tutorial: it asks a customer
// for approval by back channel, waits for the decision, and calls an API with
// the customer's access token.
//
//	go run ./examples/wiretransfer     # in one terminal
//	go run ./examples/teller           # in another; then approve in the browser
//
// The defaults fit that example. With other flags it works with any OpenID
// Provider that has CIBA:
//
//	go run ./examples/teller -issuer https://id.example.com -client-id app \
//	    -client-secret-file secret.txt -login-hint alice -api https://api.example.com
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// demoSecret is the teller's secret in examples/wiretransfer/Caddyfile. DEMO: a
// real one is random, and comes from a file or the environment.
const demoSecret = "teller-demo-secret-0123456789"

// settings are the command's flags.
type settings struct {
	issuer, clientID, secret, secretFile string
	api, loginHint, scope, message       string
	expiry                               time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "teller:", err)
		os.Exit(1)
	}
}

// run is the command with its arguments and its output.
func run(ctx context.Context, args []string, out io.Writer) error {
	s, err := parse(args, out)
	if err != nil {
		return err
	}
	client, err := ciba.NewClient(ciba.Config{
		Issuer:   s.issuer,
		ClientID: s.clientID,
		Auth:     ciba.ClientSecretBasic(s.secret),
	})
	if err != nil {
		return err
	}
	tokens, err := approve(ctx, client, s, out)
	if err != nil {
		return err
	}
	return callAPI(ctx, s.api, tokens.AccessToken, out)
}

func parse(args []string, out io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("teller", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&s.issuer, "issuer", "http://localhost:9090", "issuer `URL` of the OpenID Provider")
	flags.StringVar(&s.clientID, "client-id", "teller", "`id` of this client at the provider")
	flags.StringVar(&s.secret, "client-secret", "", "`secret` of this client; others can see it in the list of processes (default: the demo's)")
	flags.StringVar(&s.secretFile, "client-secret-file", "", "`file` with the secret of this client")
	flags.StringVar(&s.api, "api", "http://127.0.0.1:8081", "`URL` of the API, which has an endpoint /identity")
	flags.StringVar(&s.loginHint, "login-hint", "alice", "`name` by which the provider knows the customer")
	flags.StringVar(&s.scope, "scope", "openid profile my_wire_transfer_scope", "`scopes` to ask for")
	flags.StringVar(&s.message, "binding-message", "", "`text` that both sides show (default: ten random characters)")
	flags.DurationVar(&s.expiry, "expiry", 200*time.Second, "how long the customer has")
	err := flags.Parse(args)
	if err != nil {
		return s, err
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case s.secret != "" && s.secretFile != "":
		return s, errors.New("-client-secret and -client-secret-file exclude each other")
	case s.secretFile != "":
		text, err := os.ReadFile(s.secretFile)
		if err != nil {
			return s, fmt.Errorf("reading the client secret: %w", err)
		}
		s.secret = strings.TrimRight(string(text), "\r\n")
	case s.secret == "":
		s.secret = demoSecret
	}
	if s.message == "" {
		s.message = rand.Text()[:10]
	}
	return s, nil
}

// approve starts the request and waits for the customer.
func approve(ctx context.Context, client *ciba.Client, s settings, out io.Writer) (*ciba.Tokens, error) {
	pending, err := client.Start(ctx, ciba.Request{
		Scope:           strings.Fields(s.scope),
		LoginHint:       s.loginHint,
		BindingMessage:  s.message,
		RequestedExpiry: s.expiry,
	})
	if err != nil {
		return nil, fmt.Errorf("asking for approval: %w", err)
	}
	fmt.Fprintf(out, "Asked %s for approval at %s\n", s.loginHint, s.issuer)
	fmt.Fprintf(out, "  binding message  %s\n", s.message)
	fmt.Fprintf(out, "  scopes           %s\n", s.scope)
	fmt.Fprintf(out, "  expires          %s\n", pending.ExpiresAt.Local().Format(time.TimeOnly))
	fmt.Fprintf(out, "  poll every       %s\n\n", pending.Interval)

	tokens, err := client.Wait(ctx, pending, ciba.Check{}, func(attempt int, err error) {
		result := "tokens"
		if err != nil {
			result = err.Error()
		}
		fmt.Fprintf(out, "  %s  poll %-3d %s\n", time.Now().Format(time.TimeOnly), attempt, result)
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for %s: %w", s.loginHint, err)
	}
	fmt.Fprintf(out, "\nApproved by %s\n", tokens.Claims.Subject)
	fmt.Fprintf(out, "  granted          %s\n", strings.Join(tokens.Scope, " "))
	fmt.Fprintf(out, "  token expires    %s\n", tokens.ExpiresAt.Local().Format(time.TimeOnly))
	return tokens, nil
}

// callAPI calls the API with the customer's token and prints what it answers.
func callAPI(ctx context.Context, api, token string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", strings.TrimSuffix(api, "/")+"/identity", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("calling the API: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("calling the API: %s answered %s", req.URL, resp.Status)
	}
	var claims map[string]any
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&claims)
	if err != nil {
		return fmt.Errorf("reading the API's answer: %w", err)
	}
	fmt.Fprintf(out, "\n%s sees these claims\n", req.URL)
	return printClaims(out, claims)
}
