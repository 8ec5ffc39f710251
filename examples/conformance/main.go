// Command conformance runs the provider as the OpenID Foundation's conformance
// suite needs it for the plan fapi-ciba-id1-test-plan: with two TLS ports, two
// clients for each of four variants, a protected resource, and an endpoint by
// which the suite approves and denies in the user's place.
//
//	go run ./examples/conformance -host op.test -suite https://conformance.test:8443
//
// It is Caddy with the Caddyfile beside this file. The configurations for the suite
// are written to a directory. README.md says what to do with them.
//
// Whoever reaches this provider can approve anything. It is for tests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	// The modules that Caddy consists of here. Each registers itself.
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddyciba/gateway/idp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// options are what can be told on the command line.
type options struct {
	host        string // in URLs and in the certificate
	bind        string // address to listen on; empty for all
	plain, mtls int    // ports; 0 for a free one
	suite       string // base URL of the suite
	suiteCA     string // file, or ""
	cert, key   string // files of the server certificate, or ""
	dir         string // of keys and configurations
	verbose     bool   // show Caddy's log

	interval time.Duration // between polls
}

// run serves until the context ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	o := options{interval: 5 * time.Second}
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.host, "host", "localhost", "`name` of this host as the suite knows it")
	flags.StringVar(&o.bind, "bind", "", "`address` to listen on (default: all)")
	flags.IntVar(&o.plain, "plain", 9443, "`port` for plain TLS; 0 takes a free one")
	flags.IntVar(&o.mtls, "mtls", 9444, "`port` for TLS that asks for a client certificate")
	flags.StringVar(&o.suite, "suite", "https://localhost.emobix.co.uk:8443", "base `URL` of the suite, for notifications")
	flags.StringVar(&o.suiteCA, "suite-ca", "", "PEM `file` with the certificate of the suite, if the system does not trust it")
	flags.StringVar(&o.cert, "cert", "", "PEM `file` with an RSA certificate for the host (default: a self-signed one)")
	flags.StringVar(&o.key, "key", "", "PEM `file` with the key of -cert")
	flags.StringVar(&o.dir, "dir", "conformance-data", "`directory` for the configurations, made when it is missing")
	flags.BoolVar(&o.verbose, "v", false, "show Caddy's log")
	err := flags.Parse(args)
	if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return serve(ctx, o, out)
}

// serve is run with options.
func serve(ctx context.Context, o options, out io.Writer) error {
	op, err := start(o)
	if err != nil {
		return err
	}
	op.welcome(out)
	<-ctx.Done()
	return op.stop()
}

// welcome says where everything is.
func (op *op) welcome(out io.Writer) {
	fmt.Fprintf(out, "issuer      %s\n", op.issuer)
	fmt.Fprintf(out, "mutual TLS  %s\n", op.mtlsURL)
	fmt.Fprintf(out, "resource    %s\n", op.configs[0].Resource.URL)
	fmt.Fprintf(out, "certificate %s\n\nconfigurations for the suite:\n", op.certificate)
	for _, c := range op.configs {
		fmt.Fprintf(out, "  %s\n", op.files.path(c.Alias+".json"))
	}
	fmt.Fprint(out, "\nAnybody who reaches this provider can approve anything. It is for tests.\nCtrl-C stops it.\n")
}
