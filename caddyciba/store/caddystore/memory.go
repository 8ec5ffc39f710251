package caddystore

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/store"
)

func init() {
	caddy.RegisterModule(Memory{})
}

// Memory keeps state in the memory of the Caddy process. It survives config
// reloads that go on using it, and is gone when the process ends, together
// with the record of what was sent and of who approved it. It is meant for
// trying things out and for tests; do not use it where money moves.
type Memory struct {
	// Name tells several memory stores of one process apart: sites and apps
	// that give the same name share one store. Default: `default`.
	Name string `json:"name,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ciba.stores.memory",
		New: func() caddy.Module { return new(Memory) },
	}
}

// UnmarshalCaddyfile sets up the engine from Caddyfile tokens. Syntax:
//
//	memory [<name>] {
//		name <name>
//	}
func (m *Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return oneOption(d, "name", &m.Name)
}

// Key implements [Engine].
func (m *Memory) Key() string {
	if m.Name == "" {
		return "memory\x00default"
	}
	return "memory\x00" + m.Name
}

// Open implements [Engine].
func (m *Memory) Open(context.Context) (store.Store, error) {
	return store.NewMemory(store.Options{}), nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Memory)(nil)
	_ Engine                = (*Memory)(nil)
)
