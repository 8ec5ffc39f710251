package caddystore

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/store"
)

func init() {
	caddy.RegisterModule(Bolt{})
}

// Bolt keeps state in one file on the local disk. It needs no server and
// survives restarts; every write is on the disk before it counts. It is for one
// Caddy process at a time, which locks the file. Gateway and provider in one
// process share a file. To run several Caddy nodes, use `postgres`.
//
// While Caddy runs, or when it has crashed, the last writes are in a second file
// with `-journal` behind the name, which belongs to the first. Back the file up
// while Caddy is stopped, or both with one snapshot of their file system, and do
// not replace or remove them while Caddy runs: Caddy then refuses to write,
// since what it wrote would be lost.
type Bolt struct {
	// Path is the file to use. It is made if it does not exist, and so are
	// missing directories; both are then accessible to Caddy's user only. The
	// file must be on a local disk, not on a network share. Placeholders are
	// resolved when the config is loaded. Default: `ciba/ciba.db` in Caddy's
	// data directory.
	Path string `json:"path,omitempty"`

	path string
}

// CaddyModule returns the Caddy module information.
func (Bolt) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  DefaultEngine,
		New: func() caddy.Module { return new(Bolt) },
	}
}

// Provision resolves the path. It does not touch the file.
func (b *Bolt) Provision(caddy.Context) error {
	path := filepath.Join(caddy.AppDataDir(), "ciba", "ciba.db")
	if b.Path != "" {
		resolved, err := caddy.NewReplacer().ReplaceOrErr(b.Path, true, true)
		if err != nil {
			return fmt.Errorf("resolving path of bolt store: %w", err)
		}
		path = resolved
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("resolving path of bolt store: %w", err)
	}
	b.path = path
	return nil
}

// UnmarshalCaddyfile sets up the engine from Caddyfile tokens. Syntax:
//
//	bolt [<path>] {
//		path <path>
//	}
func (b *Bolt) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return oneOption(d, "path", &b.Path)
}

// Key implements [Engine].
func (b *Bolt) Key() string { return "bolt\x00" + b.path }

// Open implements [Engine].
func (b *Bolt) Open(ctx context.Context) (store.Store, error) {
	o := store.BoltOptions{LockTimeout: store.DefaultLockTimeout}
	deadline, ok := ctx.Deadline()
	if ok {
		o.LockTimeout = max(min(o.LockTimeout, time.Until(deadline)), time.Millisecond)
	}
	// The result must stay a nil interface when there is none.
	s, err := store.OpenBolt(b.path, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Bolt)(nil)
	_ caddyfile.Unmarshaler = (*Bolt)(nil)
	_ Engine                = (*Bolt)(nil)
)
