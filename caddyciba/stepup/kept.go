package stepup

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store"
)

// The records of a request that outlives its connection. All of them are sealed,
// and bear the id of the transaction.
const (
	// caseKind holds what is asked, of whom, and how far that has come.
	caseKind = "gateway.case"

	// requestKind holds the request itself, until it is over.
	requestKind = "gateway.request"

	// resultKind holds the upstream's answer.
	resultKind = "gateway.result"
)

// maxKeptBody is the longest body that can be kept: a record has room for no
// more.
const maxKeptBody = store.MaxData - 1<<20

// keptCase is what is known of a request that outlives its connection, but for
// the request itself. It is written before the customer is asked and again with
// each step, so that another process can go on from there.
type keptCase struct {
	Mode Mode `json:"mode"`
	Ask  Ask  `json:"ask"`

	// DetailsType and Digest are what the provider's answer must have in its
	// authorization_details; DetailsType is empty where it need not have any.
	DetailsType string `json:"details_type,omitempty"`
	Digest      Digest `json:"digest"`

	// Message and MatchCode are what caller and customer can compare.
	Message   string `json:"message"`
	MatchCode string `json:"match_code,omitempty"`

	// The settings of the route that count until the request is sent.
	Route           string        `json:"route"`
	ACR             []string      `json:"acr,omitempty"`
	FreshAuth       bool          `json:"fresh_auth,omitempty"`
	AuthAge         time.Duration `json:"auth_age,omitempty"`
	AuthOptional    bool          `json:"auth_time_optional,omitempty"`
	UpstreamTimeout time.Duration `json:"upstream_timeout"`
	Retention       time.Duration `json:"retention"`
	MaxResult       int64         `json:"max_result"`
	DigestHeaders   []string      `json:"digest_headers,omitempty"`

	// Address is the path and query by which the caller knows the request.
	Address string `json:"address,omitempty"`

	// Arrived is when the request came, Until when the customer has to have
	// decided.
	Arrived time.Time `json:"arrived"`
	Until   time.Time `json:"until"`

	// Credential is the hash of what the caller has shown as its credential. Only
	// a browser's cookie opens a case with CookieOnly.
	Credential []byte `json:"credential,omitempty"`
	CookieOnly bool   `json:"cookie_only,omitempty"`

	// Origin is the adapter's: how the request gets back to its routes after a
	// restart.
	Origin json.RawMessage `json:"origin,omitempty"`

	// Prompt is how the question was counted, as long as it is.
	Prompt *prompt `json:"prompt,omitempty"`

	// Pending is there once the customer is asked, Tokens once they have approved.
	Pending *ciba.Pending `json:"pending,omitempty"`
	Tokens  *keptTokens   `json:"tokens,omitempty"`
}

// keptTokens are tokens with their secrets, which ciba.Tokens does not show.
type keptTokens struct {
	ciba.Tokens
	Access  string `json:"access"`
	Refresh string `json:"refresh,omitempty"`
	ID      string `json:"id,omitempty"`
}

func keepTokens(t *ciba.Tokens) *keptTokens {
	return &keptTokens{Tokens: *t, Access: t.AccessToken, Refresh: t.RefreshToken, ID: t.IDToken}
}

func (k *keptTokens) tokens() *ciba.Tokens {
	t := k.Tokens
	t.AccessToken, t.RefreshToken, t.IDToken = k.Access, k.Refresh, k.ID
	return &t
}

// keptRequest is a snapshot without its body, which follows it.
type keptRequest struct {
	Method     string      `json:"method"`
	Scheme     string      `json:"scheme"`
	Host       string      `json:"host"`
	RequestURI string      `json:"request_uri"`
	URL        url.URL     `json:"url"`
	Header     http.Header `json:"header"`
}

func (s *Snapshot) kept() ([]byte, error) {
	return frame(keptRequest{
		Method: s.method, Scheme: s.scheme, Host: s.host,
		RequestURI: s.requestURI, URL: s.url, Header: s.header,
	}, s.body)
}

func restoreSnapshot(data []byte) (*Snapshot, error) {
	var k keptRequest
	body, err := unframe(data, &k)
	if err != nil {
		return nil, fmt.Errorf("decoding kept request: %w", err)
	}
	s := &Snapshot{
		method: k.Method, scheme: k.Scheme, host: k.Host,
		requestURI: k.RequestURI, url: k.URL, header: k.Header, body: body,
	}
	if s.header == nil {
		s.header = make(http.Header)
	}
	return s, nil
}

// keptResult is the upstream's answer without its body, which follows it.
type keptResult struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`

	// Trailer has the fields that came behind the body.
	Trailer http.Header `json:"trailer,omitempty"`

	// TooLong says that the body was not kept.
	TooLong bool `json:"too_long,omitempty"`
}

// frame writes a head and the bytes that belong to it. Bytes in JSON would grow
// by a third.
func frame(head any, body []byte) ([]byte, error) {
	text, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("encoding kept data: %w", err)
	}
	data := make([]byte, 4, 4+len(text)+len(body))
	binary.BigEndian.PutUint32(data, uint32(len(text)))
	return append(append(data, text...), body...), nil
}

func unframe(data []byte, head any) ([]byte, error) {
	if len(data) < 4 {
		return nil, errSealed
	}
	length := int64(binary.BigEndian.Uint32(data))
	if length > int64(len(data)-4) {
		return nil, errSealed
	}
	err := decodeKept(data[4:4+length], head)
	if err != nil {
		return nil, err
	}
	return data[4+length:], nil
}

// decodeKept keeps the digits of numbers, as claims have them.
func decodeKept(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(into)
}

// cabinet is where kept requests lie.
type cabinet struct {
	store store.Store
	vault *vault
	now   func() time.Time
}

// put writes a sealed record and returns its version. Version 0 makes a new one.
func (c *cabinet) put(ctx context.Context, kind, id string, version uint64, data []byte, expires time.Time) (uint64, error) {
	sealed, err := c.vault.seal(ctx, kind, id, data)
	if err != nil {
		return version, fmt.Errorf("sealing record: %w", err)
	}
	r := &store.Record{Kind: kind, ID: id, Version: version, Data: sealed, Expires: expires}
	ctx, cancel := storeContext(ctx)
	defer cancel()
	if version == 0 {
		err = c.store.Create(ctx, r)
	} else {
		err = c.store.Update(ctx, r)
	}
	if err != nil {
		return version, fmt.Errorf("writing kept record: %w", err)
	}
	return r.Version, nil
}

// get reads a sealed record. The error wraps store.ErrNotFound if it is not
// there, or not any more.
func (c *cabinet) get(ctx context.Context, kind, id string) (data []byte, version uint64, err error) {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	r, err := c.store.Get(ctx, kind, id)
	if err != nil {
		return nil, 0, fmt.Errorf("reading kept record: %w", err)
	}
	data, err = c.vault.open(ctx, kind, id, r.Data)
	if err != nil {
		return nil, 0, fmt.Errorf("reading kept record: %w", err)
	}
	return data, r.Version, nil
}

// drop removes a record. One that is gone is no error.
func (c *cabinet) drop(ctx context.Context, kind, id string) error {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	err := c.store.Delete(ctx, kind, id, 0)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("removing kept record: %w", err)
	}
	return nil
}

// file is the case of one transaction at the version that this process has read
// or written. One goroutine at a time may use it.
type file struct {
	cabinet *cabinet
	id      string
	version uint64
	keptCase
}

// openFile reads the case of a transaction.
func (c *cabinet) openFile(ctx context.Context, id string) (*file, error) {
	data, version, err := c.get(ctx, caseKind, id)
	if err != nil {
		return nil, err
	}
	f := &file{cabinet: c, id: id, version: version}
	err = decodeKept(data, &f.keptCase)
	if err != nil {
		return nil, fmt.Errorf("decoding case: %w", err)
	}
	if f.Prompt != nil {
		f.Prompt.transaction = id
	}
	return f, nil
}

// save writes the case. It is kept until its time is over and its result has
// been there for as long as promised.
func (f *file) save(ctx context.Context) error {
	data, err := json.Marshal(f.keptCase)
	if err != nil {
		return fmt.Errorf("encoding case: %w", err)
	}
	f.version, err = f.cabinet.put(ctx, caseKind, f.id, f.version, data, f.expires())
	return err
}

// expires is when nobody needs the records of the transaction any more, however
// slowly it goes.
func (f *file) expires() time.Time {
	return f.Until.Add(continueTime + f.UpstreamTimeout + answerTime + recoveryMargin + f.Retention)
}

// saveRequest writes the request itself.
func (f *file) saveRequest(ctx context.Context, s *Snapshot) error {
	data, err := s.kept()
	if err != nil {
		return err
	}
	_, err = f.cabinet.put(ctx, requestKind, f.id, 0, data, f.expires())
	return err
}

// request reads the request back.
func (f *file) request(ctx context.Context) (*Snapshot, error) {
	data, _, err := f.cabinet.get(ctx, requestKind, f.id)
	if err != nil {
		return nil, err
	}
	return restoreSnapshot(data)
}

// saveResult writes the upstream's answer. It may be read until the retention is
// over.
func (f *file) saveResult(ctx context.Context, k keptResult, body []byte) error {
	data, err := frame(k, body)
	if err != nil {
		return err
	}
	_, err = f.cabinet.put(ctx, resultKind, f.id, 0, data, f.cabinet.now().Add(f.Retention))
	return err
}

// result reads the upstream's answer.
func (c *cabinet) result(ctx context.Context, id string) (*keptResult, []byte, error) {
	data, _, err := c.get(ctx, resultKind, id)
	if err != nil {
		return nil, nil, err
	}
	k := &keptResult{}
	body, err := unframe(data, k)
	if err != nil {
		return nil, nil, fmt.Errorf("decoding result: %w", err)
	}
	return k, body, nil
}

// answered returns the status of an answer that was kept.
func (c *cabinet) answered(ctx context.Context, id string) (int, bool) {
	k, _, err := c.result(ctx, id)
	if err != nil {
		return 0, false
	}
	return k.Status, true
}

// close removes what nobody needs after the end: the request, and all that opens
// something. What was asked stays as long as a result does.
func (f *file) close(ctx context.Context) error {
	f.Pending, f.Tokens, f.Origin, f.Prompt = nil, nil, nil, nil
	f.Ask = Ask{}
	data, err := json.Marshal(f.keptCase)
	if err != nil {
		return fmt.Errorf("encoding case: %w", err)
	}
	f.version, err = f.cabinet.put(ctx, caseKind, f.id, f.version, data, f.cabinet.now().Add(f.Retention))
	return errors.Join(err, f.cabinet.drop(ctx, requestKind, f.id))
}
