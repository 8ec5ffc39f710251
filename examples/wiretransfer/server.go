package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/certmagic"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/examples/wiretransfer/bank"
)

// exampleCaddyfile is the configuration, which a reader can copy as it is.
//
//go:embed Caddyfile
var exampleCaddyfile []byte

// places says where everything listens and keeps its data.
type places struct {
	gateway     string        // host:port
	provider    string        // host:port
	bank        string        // host:port
	admin       string        // host:port, or off
	data        string        // directory for keys, requests and sessions
	instantHold time.Duration // how long an instant payment waits
	verbose     bool          // show Caddy's log
}

// gatewayURL is where tellers send their requests.
func (p places) gatewayURL() string { return "http://" + p.gateway }

// providerURL is the issuer, and where customers sign in.
func (p places) providerURL() string { return "http://" + p.provider }

// bankURL is the bank's API without the gateway in front.
func (p places) bankURL() string { return "http://" + p.bank }

// fill takes a free port for every place that has port 0, so that several
// examples can run at once.
func (p *places) fill() error {
	for _, at := range []*string{&p.gateway, &p.provider, &p.bank, &p.admin} {
		host, port, err := net.SplitHostPort(*at)
		if err != nil || port != "0" {
			continue
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("finding a free port: %w", err)
		}
		_, port, err = net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return err
		}
		// Closed after the loop, so that no port is given out twice.
		defer listener.Close()
		*at = net.JoinHostPort(host, port)
	}
	return nil
}

// start runs the bank and Caddy until stop is called. Both run in this process.
func start(p places) (stop func() error, err error) {
	ledger := bank.NewLedger(nil,
		bank.Account{ID: "10001", CustomerID: "alice", Holder: "Alice Arnold", Currency: "EUR", Opening: 500000},
		bank.Account{ID: "10002", CustomerID: "bob", Holder: "Bob Becker", Currency: "EUR", Opening: 120000},
	)
	stopBank, err := serveBank(p.bank, bank.New(ledger, bank.NewIdentity(p.providerURL(), "", nil, nil)))
	if err != nil {
		return nil, fmt.Errorf("starting the bank: %w", err)
	}
	err = startCaddy(p)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting Caddy: %w", err), stopBank())
	}
	return func() error {
		// Caddy first: what it is still sending wants an answer from the bank. Who
		// waits for a customer is told that nothing was sent.
		return errors.Join(caddy.Stop(), awaitStore(), stopBank())
	}, nil
}

// awaitStore returns when gateway and provider have closed their store: only
// then may its directory be removed. The file is locked until then. An open page
// of the approval app can keep the provider busy, which is waited for no longer
// than some seconds.
func awaitStore() error {
	s, err := store.OpenBolt(filepath.Join(caddy.AppDataDir(), "ciba", "ciba.db"), store.BoltOptions{})
	if errors.Is(err, store.ErrLocked) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("waiting for the store: %w", err)
	}
	return s.Close()
}

// serveBank listens and serves in the background.
func serveBank(address string, handler http.Handler) (stop func() error, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // a dropped connection is not news here
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil {
			err = server.Close()
		}
		served := <-served
		if !errors.Is(served, http.ErrServerClosed) {
			return served
		}
		return err
	}, nil
}

// startCaddy fills the Caddyfile in by environment variables, as an operator
// would, and loads it.
func startCaddy(p places) error {
	level := "ERROR"
	if p.verbose {
		level = "INFO"
	}
	for name, value := range map[string]string{
		"GATEWAY":        p.gatewayURL(),
		"PROVIDER":       p.providerURL(),
		"BANK":           p.bank,
		"ADMIN":          p.admin,
		"LOG_LEVEL":      level,
		"INSTANT_HOLD":   p.instantHold.String(),
		"GRACE_PERIOD":   "0",         // this process ends anyway, and with it what it holds
		"GATEWAY_SECRET": rand.Text(), // known to nobody but the two ends of this process
		"XDG_DATA_HOME":  p.data,      // where Caddy and its modules keep everything
	} {
		err := os.Setenv(name, value)
		if err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	// These were computed when the process started, before XDG_DATA_HOME was set.
	caddy.DefaultStorage = &certmagic.FileStorage{Path: caddy.AppDataDir()}
	caddy.ConfigAutosavePath = filepath.Join(p.data, "autosave.json")

	config, err := adapt(exampleCaddyfile)
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// adapt turns a Caddyfile into Caddy's JSON. A warning is an error here: an
// example should not have any.
func adapt(source []byte) ([]byte, error) {
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(source, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, fmt.Errorf("reading the Caddyfile: %w", err)
	}
	if len(warnings) > 0 {
		all := make([]string, len(warnings))
		for i, w := range warnings {
			all[i] = w.String()
		}
		return nil, fmt.Errorf("reading the Caddyfile: %s", strings.Join(all, "; "))
	}
	return config, nil
}
