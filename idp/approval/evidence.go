package approval

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

const (
	// kindEvidence keeps how requests were approved; indexRequest finds what belongs
	// to one.
	kindEvidence = "idp.evidence"
	indexRequest = "request"

	// maxEvidence bounds what is read for one request: one that counts, and those
	// of devices that came second.
	maxEvidence = 20
)

// Evidence is how a customer has approved a request: what was on the page, what was
// chosen, and the proof. With a passkey it can be verified by anybody who has it: the
// challenge in Response is the one of the statement (see [factor.Statement]) of
// Subject, Request, SHA-256(Shown) and Choice with Ticket, and PublicKey verifies the
// signature.
type Evidence struct {
	Request  string    `json:"request"`
	Subject  string    `json:"subject"`
	Client   string    `json:"client"`
	At       time.Time `json:"at"`
	Method   string    `json:"method"` // password, password_otp, passkey, device_passkey, or another module's
	ProvenAt time.Time `json:"proven_at"`

	// Shown is everything that the page said about the request, in the language in
	// which it said so, and Choice the decision with the permissions.
	Shown  json.RawMessage `json:"shown"`
	Choice string          `json:"choice"`

	// Of a passkey.
	Ticket    string          `json:"ticket,omitempty"`
	Passkey   string          `json:"passkey,omitempty"`
	PublicKey []byte          `json:"public_key,omitempty"`
	Response  json.RawMessage `json:"response,omitempty"`
}

// shownPage is what a page says about a request, as it is hashed and kept.
type shownPage struct {
	Language string      `json:"language"`
	Client   string      `json:"client_id"`
	Says     subject     `json:"says"`
	Scopes   []scopeView `json:"scopes"`
	Asked    time.Time   `json:"asked"`
	Ends     time.Time   `json:"ends"`
}

// statement returns what the customer agrees to by approving a request with these
// permissions, and what was shown. It comes out the same for the page and for the
// form that comes back from it, unless what is shown has changed in between.
func (a *App) statement(l *locale, s *session, req *provider.Request, chosen []string) (factor.Statement, json.RawMessage, error) {
	page := shownPage{
		Language: l.name, Client: req.Client.ID, Says: a.subject(l, req),
		Asked: req.CreatedAt.UTC(), Ends: req.ExpiresAt.UTC(),
	}
	for _, scope := range req.Scopes {
		page.Scopes = append(page.Scopes, a.scopeView(l, scope))
	}
	shown, err := json.Marshal(page)
	if err != nil {
		return factor.Statement{}, nil, fmt.Errorf("encoding what is shown: %w", err)
	}
	return factor.Statement{
		Subject: s.user.ID, Request: req.ID, Shown: sha256.Sum256(shown), Choice: choice(chosen),
	}, shown, nil
}

// choice writes an approval with its permissions; passkey.js does the same.
func choice(chosen []string) string {
	return "approve\n" + strings.Join(slices.Sorted(slices.Values(chosen)), " ")
}

// keepEvidence writes down how a request is approved, before it is: no approval is
// without. It returns the id of the record.
func (a *App) keepEvidence(ctx context.Context, l *locale, s *session, req *provider.Request, chosen []string, agreed *agreement) (string, error) {
	statement, shown, err := a.statement(l, s, req, chosen)
	if err != nil {
		return "", err
	}
	now := a.cfg.Now()
	e := Evidence{
		Request: req.ID, Subject: s.user.ID, Client: req.Client.ID, At: now.UTC(),
		Method: string(agreed.Method), ProvenAt: agreed.At.UTC(), Shown: shown, Choice: statement.Choice,
	}
	if agreed.assertion != nil {
		e.Ticket, e.Passkey = agreed.ticket, agreed.assertion.Passkey.ID
		e.PublicKey, e.Response = agreed.assertion.PublicKey, agreed.assertion.Response
	}
	data, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("encoding evidence: %w", err)
	}
	secret, err := a.newSecret()
	if err != nil {
		return "", err
	}
	id := base64.RawURLEncoding.EncodeToString(secret)
	err = a.cfg.Store.Create(ctx, &store.Record{
		Kind: kindEvidence, ID: id, Data: data,
		Indexes: []store.Index{{Name: indexRequest, Value: req.ID}, {Name: sessionSubject, Value: s.user.ID}},
		Expires: now.Add(a.cfg.EvidenceLifetime),
	})
	if err != nil {
		return "", fmt.Errorf("keeping evidence: %w", err)
	}
	return id, nil
}

// dropEvidence removes what was written for an approval that came to nothing. What
// stays because the store fails is true nevertheless: the customer did agree.
func (a *App) dropEvidence(ctx context.Context, id string) {
	err := a.cfg.Store.Delete(ctx, kindEvidence, id, 0)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		a.cfg.Logger.Warn("removing evidence of an approval that came to nothing", errField(err))
	}
}

// Evidence returns how a request was approved. It is empty if it was not, and has
// more than one entry only if a device died between its proof and the approval of
// another one.
func (a *App) Evidence(ctx context.Context, requestID string) ([]Evidence, error) {
	records, err := a.cfg.Store.List(ctx, kindEvidence, store.Index{Name: indexRequest, Value: requestID}, "", maxEvidence)
	if err != nil {
		return nil, fmt.Errorf("reading evidence: %w", err)
	}
	var all []Evidence
	for _, record := range records {
		var e Evidence
		err = json.Unmarshal(record.Data, &e)
		if err != nil {
			return nil, fmt.Errorf("decoding evidence: %w", err)
		}
		all = append(all, e)
	}
	return all, nil
}
