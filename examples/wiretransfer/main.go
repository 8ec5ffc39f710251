// Command wiretransfer shows step-up approval from end to end in one process: a
// small legacy bank, Caddy with the CIBA gateway in front of it, and Caddy with
// the identity provider and the app in which the bank's customers approve.
//
//	go run ./examples/wiretransfer          # then follow what it prints
//	go run ./examples/wiretransfer -auto    # it plays teller and customer itself
//
// It needs nothing but Go, listens on loopback addresses only, and leaves
// nothing behind: its data go to a temporary directory unless -data names one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	// The modules that Caddy consists of here. Each registers itself.
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddyciba/gateway/caddyciba"
	_ "github.com/caddyciba/gateway/idp"
)

// DEMO: who the Caddyfile knows, and with which passwords.
const (
	tellerUser       = "teller"
	tellerPassword   = "teller-demo"
	customerUser     = "alice"
	customerPassword = "alice-demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "wiretransfer:", err)
		os.Exit(1)
	}
}

// run is the command with its arguments and its output. It returns when the
// context ends, or after the scenarios of -auto.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var p places
	var auto bool
	flags := flag.NewFlagSet("wiretransfer", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&p.gateway, "gateway", "localhost:8080", "`host:port` of the gateway; port 0 takes a free one")
	flags.StringVar(&p.provider, "provider", "localhost:9090", "`host:port` of the identity provider")
	flags.StringVar(&p.bank, "bank", "127.0.0.1:8081", "`host:port` of the bank's own API")
	flags.StringVar(&p.admin, "admin", "off", "`host:port` of Caddy's admin API, or off")
	flags.StringVar(&p.data, "data", "", "`directory` for keys and requests (default: a temporary one, removed at the end)")
	flags.DurationVar(&p.instantHold, "instant-hold", 15*time.Second, "how long an instant transfer waits for approval")
	flags.BoolVar(&p.verbose, "v", false, "show Caddy's log")
	flags.BoolVar(&auto, "auto", false, "play teller and customer, check the ledger, and exit; takes free ports unless told")
	err = flags.Parse(args)
	if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if auto {
		useFreePorts(flags, &p)
	}
	err = p.fill()
	if err != nil {
		return err
	}
	remove, err := p.prepareData()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()

	stop, err := start(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	if auto {
		return play(ctx, p, out)
	}
	welcome(out, p)
	<-ctx.Done()
	fmt.Fprintln(out, "\nStopping.")
	return nil
}

// useFreePorts changes the defaults for a run that nobody watches: it must not
// disturb an example that is already running, and cannot wait for long.
func useFreePorts(flags *flag.FlagSet, p *places) {
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["gateway"] {
		p.gateway = "localhost:0"
	}
	if !given["provider"] {
		p.provider = "localhost:0"
	}
	if !given["bank"] {
		p.bank = "127.0.0.1:0"
	}
	if !given["instant-hold"] {
		p.instantHold = 3 * time.Second
	}
}

// prepareData makes the data directory. The temporary one is removed at the end.
func (p *places) prepareData() (remove func() error, err error) {
	if p.data != "" {
		p.data, err = filepath.Abs(p.data)
		if err != nil {
			return nil, err
		}
		return func() error { return nil }, os.MkdirAll(p.data, 0o700)
	}
	p.data, err = os.MkdirTemp("", "wiretransfer-")
	if err != nil {
		return nil, err
	}
	return func() error { return os.RemoveAll(p.data) }, nil
}

// welcome tells a newcomer what runs here and what to try.
func welcome(out io.Writer, p places) {
	fmt.Fprintf(out, `
Wire transfer example

  gateway     %[1]s    the bank's API, where transfers need approval
  provider    %[2]s    where customers sign in and approve
  bank        %[3]s    the legacy API behind the gateway

1. Sign in as the customer (demo password):

     %[2]s/        user %[4]s    password %[5]s

2. In a terminal, send a transfer as the teller. It waits for the customer:

     curl -i -u %[6]s:%[7]s %[1]s/v1/transfers \
       -H 'Content-Type: application/json' \
       -d '{"debtor": {"customer_id": "alice"},
            "creditor": {"name": "Blue Bikes Ltd", "iban": "GB33BUKB20201555555555"},
            "amount": 250.00, "currency": "EUR", "reference": "Invoice 4711"}'

3. Approve it in the browser, and curl prints the bank's own answer.
   Deny it, or wait two minutes, and curl gets a 403 that says why.

4. See what was booked:

     curl -u %[6]s:%[7]s %[1]s/v1/accounts/10001

The tutorial's console client: go run ./examples/teller%[8]s
Ctrl-C stops everything.
`, p.gatewayURL(), p.providerURL(), p.bankURL(), customerUser, customerPassword, tellerUser, tellerPassword, tellerFlags(p))
}

// tellerFlags are what examples/teller needs where the defaults do not fit.
func tellerFlags(p places) string {
	var flags string
	if p.provider != "localhost:9090" {
		flags += " -issuer " + p.providerURL()
	}
	if p.bank != "127.0.0.1:8081" {
		flags += " -api " + p.bankURL()
	}
	return flags
}
