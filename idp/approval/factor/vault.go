package factor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

// Errors that tell callers apart what became of a proof. Any other error means that
// the store could not do its work, and that nothing was proven.
var (
	// ErrWrong says that what was presented proves nothing: a code that is not the
	// one, a passkey that is not known or whose answer does not fit.
	ErrWrong = errors.New("the proof is wrong")

	// ErrStale says that a challenge or a form is too old, was used before, or was
	// made for another browser or purpose.
	ErrStale = errors.New("the challenge is not good any more")

	// ErrMalformed says that the answer of an authenticator can not be read or is
	// of a kind that is not taken.
	ErrMalformed = errors.New("the authenticator's answer is malformed")

	// ErrCloned says that the counter of a passkey went backwards: there are
	// probably two copies of it. The passkey is blocked from then on.
	ErrCloned = errors.New("the passkey may have been copied and is blocked")

	// ErrChanged says that a passkey answers as one of another kind than it was
	// when it was added (its backup eligibility differs). It must be added again.
	ErrChanged = errors.New("the passkey has changed and must be added again")

	// ErrTaken says that a passkey with this id is registered already.
	ErrTaken = errors.New("the passkey is registered already")

	// ErrNotFound says that the customer does not have what is named.
	ErrNotFound = errors.New("no such factor")

	// ErrFull says that the customer has as many passkeys as are kept.
	ErrFull = errors.New("no room for another passkey")

	// ErrNoPasskeys says that passkeys can not be used at this address, because it
	// is an IP address and not a name.
	ErrNoPasskeys = errors.New("passkeys need a host with a name")
)

const (
	// kindAccount is the record kind of accounts in the store. The id is the
	// customer's subject.
	kindAccount = "idp.factors"

	// indexHandle finds an account by the user handle that its passkeys carry,
	// indexCredential by the hash of a credential id, indexLink by that of a link.
	indexHandle     = "handle"
	indexCredential = "credential"
	indexLink       = "link"

	// changeTries bounds how often a lost race for an account is repeated.
	changeTries = 32
)

// Config is what a [Vault] is made of.
type Config struct {
	// Store keeps the accounts. Required.
	Store store.Store

	// Sealer encrypts the seeds of one-time codes. Default: they lie in the store
	// as they are.
	Sealer *provider.Sealer

	// Origin is the web origin at which customers use their passkeys, such as
	// https://id.example.com: no other is taken. Its host is the relying party id
	// that passkeys are bound to, and is never anything wider. Required.
	Origin string

	// Name is how authenticators and authenticator apps call this place.
	// Default: the host of Origin.
	Name string

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Rand is the source of randomness. Default: crypto/rand.Reader.
	Rand io.Reader
}

// Vault keeps the factors of customers. It is safe for concurrent use.
type Vault struct {
	cfg  Config
	web  *webauthn.WebAuthn // nil where passkeys are impossible
	host string
	key  ticketKey
}

// New returns a vault. It does no I/O.
func New(cfg Config) (*Vault, error) {
	if cfg.Store == nil {
		return nil, errors.New("a store is required")
	}
	origin, err := url.Parse(cfg.Origin)
	if err != nil || origin.Host == "" || origin.Scheme+"://"+origin.Host != cfg.Origin {
		return nil, fmt.Errorf("%q is not an origin", cfg.Origin)
	}
	if cfg.Name == "" {
		cfg.Name = origin.Hostname()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Sealer == nil {
		cfg.Sealer, err = provider.NewSealer(nil, cfg.Rand)
		if err != nil {
			return nil, fmt.Errorf("making a sealer: %w", err)
		}
	}
	v := &Vault{cfg: cfg, host: origin.Hostname()}
	_, err = netip.ParseAddr(v.host)
	if err == nil {
		return v, nil // an address: the relying party id must be a name
	}
	v.web, err = newWebAuthn(cfg, v.host)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// HasPasskeys reports whether passkeys can be used at the vault's origin. They can
// not where the host is an IP address.
func (v *Vault) HasPasskeys() bool { return v.web != nil }

// held is an account as it was read from the store.
type held struct {
	accountRecord
	subject string
	record  *store.Record // version 0 if there is none yet
}

// load reads the account of a customer; an empty one if there is none.
func (v *Vault) load(ctx context.Context, subject string) (*held, error) {
	record, err := v.cfg.Store.Get(ctx, kindAccount, subject)
	if errors.Is(err, store.ErrNotFound) {
		return &held{subject: subject, record: &store.Record{Kind: kindAccount, ID: subject}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading factors: %w", err)
	}
	return decodeHeld(record)
}

func decodeHeld(record *store.Record) (*held, error) {
	h := &held{subject: record.ID, record: record}
	err := json.Unmarshal(record.Data, &h.accountRecord)
	if err != nil {
		return nil, fmt.Errorf("decoding factors: %w", err)
	}
	return h, nil
}

// find returns the account with an index entry, or ErrNotFound.
func (v *Vault) find(ctx context.Context, index store.Index) (*held, error) {
	records, err := v.cfg.Store.List(ctx, kindAccount, index, "", 1)
	if err != nil {
		return nil, fmt.Errorf("looking up factors: %w", err)
	}
	if len(records) == 0 {
		return nil, ErrNotFound
	}
	return decodeHeld(records[0])
}

// change changes an account by one conditional write. The function sees the account
// as it is and is called again if somebody else was faster, so that whatever it
// checks holds at the moment of the write. It says whether to write; an error of its
// own is returned in any case, after the write if there is one.
func (v *Vault) change(ctx context.Context, subject string, f func(*held) (write bool, err error)) error {
	for range changeTries {
		h, err := v.load(ctx, subject)
		if err != nil {
			return err
		}
		write, result := f(h)
		if !write {
			return result
		}
		err = v.save(ctx, h)
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("writing factors: %w", err)
		}
		return result
	}
	return errors.New("writing factors: too many others write at the same time")
}

// save writes the account if it is still as it was read.
func (v *Vault) save(ctx context.Context, h *held) error {
	if h.empty() {
		if h.record.Version == 0 {
			return nil
		}
		return v.cfg.Store.Delete(ctx, kindAccount, h.subject, h.record.Version)
	}
	data, err := json.Marshal(&h.accountRecord)
	if err != nil {
		return fmt.Errorf("encoding factors: %w", err)
	}
	h.record.Data, h.record.Indexes = data, h.indexes()
	if h.record.Version == 0 {
		return v.cfg.Store.Create(ctx, h.record)
	}
	return v.cfg.Store.Update(ctx, h.record)
}
