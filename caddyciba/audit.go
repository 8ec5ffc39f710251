package caddyciba

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/stepup"
	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/caddyciba/store/audit"
	"github.com/caddyciba/gateway/caddyciba/store/caddyaudit"
	"github.com/caddyciba/gateway/caddyciba/store/caddystore"
)

// auditKind is the kind of what the store keeps for audit logs.
const auditKind = "gateway.audit"

// Events of the audit log that the engine does not know.
const (
	operatorCancelled = "operator_cancelled"
	operatorResolved  = "operator_resolved"
)

// unmarshalAudit reads the option of the audit log.
func (a *App) unmarshalAudit(d *caddyfile.Dispenser) error {
	if a.Audit != nil {
		return d.Err("audit already specified")
	}
	a.Audit = new(caddyaudit.Options)
	return a.Audit.UnmarshalCaddyfile(d)
}

// auditKey is what of the audit log shapes a gate.
func (a *App) auditKey() (string, error) {
	if a.Audit == nil {
		return "", nil
	}
	err := a.Audit.Check()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(a.Audit)
	if err != nil {
		return "", fmt.Errorf("encoding settings: %w", err)
	}
	return string(text), nil
}

// openAudit takes a way to the audit log for a gate, if there is one. Its key lies in
// the gate's store, to which the log has a way of its own, as it can outlive the gate.
func (a *App) openAudit(ctx caddy.Context, g *gate, encryption [][]byte) error {
	if a.Audit == nil {
		return nil
	}
	var err error
	g.audit, err = caddyaudit.Acquire(a.Audit, func() (*audit.Keeper, func() error, error) {
		handle, err := caddystore.Acquire(ctx, a.engine)
		if err != nil {
			return nil, nil, fmt.Errorf("acquiring store: %w", err)
		}
		keeper, err := auditKeeper(handle, encryption)
		if err != nil {
			_ = handle.Release()
			return nil, nil, err
		}
		return keeper, handle.Release, nil
	}, g.logger())
	return err
}

func auditKeeper(s store.Store, encryption [][]byte) (*audit.Keeper, error) {
	sealer, err := stepup.NewSealer(s, encryption)
	if err != nil {
		return nil, err
	}
	return &audit.Keeper{
		Store: s, Kind: auditKind,
		Seal: func(ctx context.Context, id string, data []byte) ([]byte, error) {
			return sealer.Seal(ctx, auditKind, id, data)
		},
		Open: func(ctx context.Context, id string, sealed []byte) ([]byte, error) {
			return sealer.Open(ctx, auditKind, id, sealed)
		},
	}, nil
}

// auditor writes what the engine tells into the audit log. It is nil without one.
func (g *gate) auditor() stepup.Audit {
	if g.audit == nil {
		return nil
	}
	return func(ctx context.Context, e audit.Entry, durable bool) error {
		e.Issuer, e.Client = g.issuer, g.client.ClientID()
		return g.audit.Write(ctx, e, durable)
	}
}

// noteTransaction writes down what has become of a transaction without its request:
// found by another process, or by an operator's hand.
func (g *gate) noteTransaction(ctx context.Context, event string, t *stepup.Transaction, reason, note string) {
	if g.audit == nil {
		return
	}
	g.audit.Note(ctx, audit.Entry{
		Event: event, Request: t.ID, Route: t.Route, Issuer: g.issuer, Client: g.client.ClientID(),
		Method: t.Method, Host: t.Host, Target: t.Target, Digest: t.Digest,
		State: string(t.State), Status: t.Status, Reason: reason, Note: note,
	})
}

// noteOperator writes down what an operator has done to a transaction, in the log of
// the gate that it belongs to, or of any that there is.
func (a *App) noteOperator(ctx context.Context, event string, t *stepup.Transaction, reason, note string) {
	var last *gate
	for _, g := range a.gates {
		if g.audit == nil {
			continue
		}
		last = g
		if g.engine.Name() == t.Gate {
			break
		}
	}
	if last != nil {
		last.noteTransaction(ctx, event, t, reason, note)
	}
}
