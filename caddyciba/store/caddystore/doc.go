// Package caddystore makes the engines of package store available to Caddy, as
// modules of the namespace ciba.stores, and lets all that use one store share
// it across sites, apps and config reloads.
//
// A host module loads an engine in its Provision, from a field like
//
//	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=ciba.stores inline_key=engine"`
//
// with [DefaultEngine] if the field is empty, takes a [Handle] of it by
// [Acquire], and releases that in its Cleanup. Whatever must outlive the host,
// such as a request that is held while the config is reloaded, takes a handle
// of its own by [Handle.Retain].
package caddystore

import (
	"context"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// DefaultEngine is the id of the module to load where none is configured.
const DefaultEngine = "ciba.stores.bolt"

// Engine is what a module of namespace ciba.stores implements.
type Engine interface {
	// Key names the store: engines with equal keys share one opened store. It
	// begins with the engine's name, tells apart all that makes stores differ,
	// and contains no secret. It must be ready after Provision and not change.
	Key() string

	// Open opens the store. It is called at most once at a time for a key,
	// and again later after it has failed.
	Open(ctx context.Context) (store.Store, error)
}
