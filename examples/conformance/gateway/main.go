// Command gateway runs the gateway as the OpenID Foundation's conformance suite
// needs it for the plan fapi-ciba-id1-client-test-plan: with one client for each of
// four variants, and for each of them a URL that makes the gateway ask for one
// approval, of the provider that the suite plays.
//
//	go run ./examples/conformance/gateway -host gw.test -suite https://conformance.test:8443
//
// It is Caddy with the Caddyfile beside this file. The configurations for the suite
// are written to a directory. README.md says what to do with them.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	// The modules that Caddy consists of here. Each registers itself.
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddyciba/gateway/caddyciba"
)

// exampleCaddyfile is the configuration, which a reader can copy as it is.
//
//go:embed Caddyfile
var exampleCaddyfile []byte

// variants are those of the plan, as the aliases of the configurations and the
// URLs name them.
var variants = []string{"private_key_jwt-poll", "private_key_jwt-ping", "mtls-poll", "mtls-ping"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// options are what can be told on the command line.
type options struct {
	host             string // in URLs and in the certificate
	bind             string // address to listen on; empty for all
	port             int
	suite, suiteMTLS string // base URLs of the suite
	suiteCA          string // file, or ""
	dir              string // of keys and configurations
	verbose          bool   // show Caddy's log
}

// run serves until the context ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.host, "host", "localhost", "`name` of this host as the suite knows it")
	flags.StringVar(&o.bind, "bind", "", "`address` to listen on (default: all)")
	flags.IntVar(&o.port, "port", 7443, "`port` to listen on")
	flags.StringVar(&o.suite, "suite", "https://localhost.emobix.co.uk:8443", "base `URL` of the suite")
	flags.StringVar(&o.suiteMTLS, "suite-mtls", "https://localhost.emobix.co.uk:8444", "base `URL` of the suite for clients with a certificate")
	flags.StringVar(&o.suiteCA, "suite-ca", "", "PEM `file` with the certificate of the suite, if the system does not trust it")
	flags.StringVar(&o.dir, "dir", "conformance-data/gateway", "`directory` for keys and configurations, made when it is missing")
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
	var err error
	o.dir, err = filepath.Abs(o.dir)
	if err != nil {
		return fmt.Errorf("finding directory: %w", err)
	}
	base := "https://" + net.JoinHostPort(o.host, strconv.Itoa(o.port))
	err = prepare(o, base)
	if err != nil {
		return err
	}
	err = startCaddy(o)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "variant               triggers one step-up; configuration for the suite")
	for _, v := range variants {
		fmt.Fprintf(out, "%-20s  %s/trigger/%s\n%22s%s\n", v, base, v, "", filepath.Join(o.dir, configFile(v)))
	}
	fmt.Fprintln(out, "Ctrl-C stops it.")
	<-ctx.Done()
	return caddy.Stop()
}

// startCaddy fills the Caddyfile in by environment variables, as an operator would,
// and loads it.
func startCaddy(o options) error {
	// Options that are not there unless somebody wants them.
	var bind, trust, upstreamTrust string
	if o.bind != "" {
		bind = "default_bind " + quote(o.bind)
	}
	if o.suiteCA != "" {
		trust, upstreamTrust = "trust_pool file "+quote(o.suiteCA), "tls_trust_pool file "+quote(o.suiteCA)
	}
	level := "WARN"
	if o.verbose {
		level = "DEBUG"
	}
	for name, value := range map[string]string{
		"BIND":                bind,
		"PORT":                strconv.Itoa(o.port),
		"SUITE":               strings.TrimSuffix(o.suite, "/"),
		"SUITE_MTLS":          strings.TrimSuffix(o.suiteMTLS, "/"),
		"TRUST_POOL":          trust,
		"UPSTREAM_TRUST_POOL": upstreamTrust,
		"DIR":                 o.dir,
		"CERTIFICATE":         filepath.Join(o.dir, "server.pem"),
		"CERTIFICATE_KEY":     filepath.Join(o.dir, "server-key.pem"),
		"LOG_LEVEL":           level,
	} {
		err := os.Setenv(name, value)
		if err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(exampleCaddyfile, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return fmt.Errorf("reading the Caddyfile: %w", err)
	}
	err = caddy.Load(config, true)
	if err != nil {
		return fmt.Errorf("starting Caddy: %w", err)
	}
	return nil
}

// quote writes a text as one token of a Caddyfile.
func quote(text string) string { return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"` }
