package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/certmagic"
)

// exampleCaddyfile is the configuration, which a reader can copy as it is.
//
//go:embed Caddyfile
var exampleCaddyfile []byte

// startCaddy fills the Caddyfile in by environment variables, as an operator
// would, and loads it.
func (op *op) startCaddy(o options) error {
	// Options that are not there unless somebody wants them.
	var bind, notificationCA string
	if o.bind != "" {
		bind = "default_bind " + quote(o.bind)
	}
	if o.suiteCA != "" {
		notificationCA = "notification_ca " + quote(o.suiteCA)
	}
	level := "WARN"
	if o.verbose {
		level = "DEBUG"
	}
	for name, value := range map[string]string{
		"BIND":            bind,
		"ISSUER":          op.issuer,
		"PLAIN_PORT":      strconv.Itoa(o.plain),
		"MTLS":            op.mtlsURL,
		"MTLS_PORT":       strconv.Itoa(o.mtls),
		"SUITE":           strings.TrimSuffix(o.suite, "/"),
		"NOTIFICATION_CA": notificationCA,
		"CERTIFICATE":     op.certificate,
		"CERTIFICATE_KEY": op.key,
		"DIR":             string(op.files),
		"INTERVAL":        o.interval.String(),
		"ACCOUNTS":        op.accounts.address,
		"ACCOUNTS_SECRET": op.accounts.secret,
		"LOG_LEVEL":       level,
		"XDG_DATA_HOME":   string(op.files), // where Caddy keeps what it keeps
	} {
		err := os.Setenv(name, value)
		if err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	// These were computed when the process started, before XDG_DATA_HOME was set.
	caddy.DefaultStorage = &certmagic.FileStorage{Path: caddy.AppDataDir()}
	caddy.ConfigAutosavePath = filepath.Join(string(op.files), "autosave.json")

	config, err := adapt(exampleCaddyfile)
	if err != nil {
		return err
	}
	err = caddy.Load(config, true)
	if err != nil {
		return fmt.Errorf("starting Caddy: %w", err)
	}
	return nil
}

// quote writes a text as one token of a Caddyfile.
func quote(text string) string { return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"` }

// adapt turns a Caddyfile into Caddy's JSON. A warning is an error here: an
// example should not have any.
func adapt(source []byte) ([]byte, error) {
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(source, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, fmt.Errorf("reading the Caddyfile: %w", err)
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("reading the Caddyfile: %s", warnings[0])
	}
	return config, nil
}
