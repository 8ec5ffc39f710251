package idp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store/audit"
	"github.com/caddyciba/gateway/caddyciba/store/caddyaudit"
	"github.com/caddyciba/gateway/caddyciba/store/caddystore"
	"github.com/caddyciba/gateway/idp/provider"
)

// auditKind is the kind of what the store keeps for audit logs.
const auditKind = "idp.audit"

var errAuditFailure = errors.New("audit: on_failure is for the gateway; here an entry is about what has happened already")

// checkAudit finds mistakes in the option audit.
func (h *Handler) checkAudit() error {
	if h.Audit == nil {
		return nil
	}
	if h.Audit.OnFailure != "" {
		return errAuditFailure
	}
	return h.Audit.Check()
}

// openAudit takes a way to the audit log, if there is one. The log has a way to the
// store of its own, as it can outlive the instance.
func (in *instance) openAudit(ctx caddy.Context, engine caddystore.Engine, s *settings) error {
	if s.Audit == nil {
		return nil
	}
	sealer, err := provider.NewSealer(s.EncryptionKeys, nil)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	in.audit, err = caddyaudit.Acquire(s.Audit, func() (*audit.Keeper, func() error, error) {
		handle, err := caddystore.Acquire(ctx, engine)
		if err != nil {
			return nil, nil, fmt.Errorf("acquiring store: %w", err)
		}
		return &audit.Keeper{
			Store: newPartition(handle, s.Issuer), Kind: auditKind,
			Seal: func(_ context.Context, id string, data []byte) ([]byte, error) {
				text, err := sealer.Seal(auditKind+"/"+id, data)
				return []byte(text), err
			},
			Open: func(_ context.Context, id string, sealed []byte) ([]byte, error) {
				return sealer.Open(auditKind+"/"+id, string(sealed))
			},
		}, handle.Release, nil
	}, in.out.logger())
	return err
}

// release gives back what the instance shares with others: the audit log first, which
// keeps its end in the store.
func (in *instance) release() error {
	var err error
	if in.audit != nil {
		err = in.audit.Release()
	}
	return errors.Join(err, in.store.Release())
}

// note writes an event into the audit log, with what the customer was shown and, of an
// approval, the evidence for it.
func (in *instance) note(ctx context.Context, e provider.Event) {
	if in.audit == nil || e.Type == provider.EventSlowDown || e.Type == provider.EventDelivered || e.Type == provider.EventUndelivered {
		return
	}
	ctx = context.WithoutCancel(ctx)
	entry := audit.Entry{
		Event: string(e.Type), Issuer: in.issuer, Client: e.Client, Customer: e.Subject, Reason: e.Reason,
	}
	if r := e.Request(); r != nil {
		entry.Request, entry.State = r.ID, string(r.State)
		switch e.Type {
		case provider.EventRequested, provider.EventApproved, provider.EventDenied:
			entry.Message, entry.Details = r.BindingMessage, r.AuthorizationDetails
			for _, scope := range r.Scopes {
				entry.Scopes = append(entry.Scopes, scope.Name)
			}
			entry.Granted = r.Granted
		}
		if e.Type == provider.EventApproved {
			entry.Evidence = in.evidence(ctx, r.ID)
		}
	}
	in.audit.Note(ctx, entry)
}

// evidence are the hashes of the records of evidence of an approval.
func (in *instance) evidence(ctx context.Context, request string) []string {
	list, err := in.approval.Evidence(ctx, request)
	if err != nil {
		in.out.logger().Error("evidence of an approval is missing in the audit log", zap.String("request", request), zap.Error(err))
		return nil
	}
	var hashes []string
	for _, e := range list {
		text, err := json.Marshal(e)
		if err != nil {
			continue // it came from JSON
		}
		sum := sha256.Sum256(text)
		hashes = append(hashes, base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	return hashes
}
