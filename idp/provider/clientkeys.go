package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"
)

const (
	// remoteKeysFreshFor is how long keys from a jwks_uri are used before it is
	// asked again.
	remoteKeysFreshFor = 10 * time.Minute

	// remoteKeysGoodFor is how long they are used if it does not answer. A key
	// that its owner has taken back must not be good for as long as somebody
	// keeps the owner's server busy.
	remoteKeysGoodFor = time.Hour

	// remoteKeysAgain is how often it is asked for keys that nobody has heard
	// of, since anybody can name some.
	remoteKeysAgain = time.Minute

	// remoteKeysRetry is how long it is left alone after it has failed.
	remoteKeysRetry = 10 * time.Second

	// maxRemoteKeys and maxRemoteKeyNumber bound a set of keys, in bytes and in
	// number.
	maxRemoteKeys      = 256 << 10
	maxRemoteKeyNumber = 100
)

// errKeysUnavailable says that a client's keys can't be had now.
var errKeysUnavailable = errors.New("the keys of the client can not be fetched now")

// remoteKeys are the keys of a client that keeps them at a URL.
type remoteKeys struct {
	url      string
	fetching chan struct{} // has a value while somebody fetches

	mu    sync.Mutex
	state remoteKeysState
}

// remoteKeysState is what is known of the keys at one time.
type remoteKeysState struct {
	keys    []jose.JSONWebKey
	fetched time.Time // zero if never
	failed  time.Time // zero if the last try was good
}

func newRemoteKeys(url string) *remoteKeys {
	return &remoteKeys{url: url, fetching: make(chan struct{}, 1)}
}

// since is how long something is ago. What lies in the future is from before the
// clock was set, and as long ago as it can be.
func since(now, then time.Time) time.Duration {
	if now.Before(then) {
		return remoteKeysGoodFor
	}
	return now.Sub(then)
}

// usable reports whether the keys may be used.
func (s *remoteKeysState) usable(now time.Time) bool {
	return !s.fetched.IsZero() && since(now, s.fetched) < remoteKeysGoodFor
}

// due reports whether the keys should be fetched, for somebody who finds the right
// one among them or does not.
func (s *remoteKeysState) due(now time.Time, found bool) bool {
	if !s.failed.IsZero() && since(now, s.failed) < remoteKeysRetry {
		return false
	}
	return !s.usable(now) || since(now, s.fetched) >= remoteKeysFreshFor || !found && since(now, s.fetched) >= remoteKeysAgain
}

func (k *remoteKeys) load() remoteKeysState {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

func (k *remoteKeys) store(s remoteKeysState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = s
}

// keysOf returns the keys of a client. Those at its jwks_uri are fetched again when
// they are old or when found says that the right one is not among them. Of many
// callers one fetches; those who have what they need do not wait for it.
func (p *Provider) keysOf(ctx context.Context, c *client, found func([]jose.JSONWebKey) bool) ([]jose.JSONWebKey, error) {
	k := c.remote
	if k == nil {
		return c.keys, nil
	}
	state := k.load()
	now := p.now()
	satisfied := state.usable(now) && found(state.keys)
	if !state.due(now, satisfied) {
		return state.result(now)
	}
	if satisfied {
		select {
		case k.fetching <- struct{}{}:
		default:
			return state.keys, nil // somebody sees to it
		}
	} else {
		select {
		case k.fetching <- struct{}{}:
		case <-ctx.Done():
			return nil, unavailable(ctx.Err())
		}
	}
	defer func() { <-k.fetching }()
	state = k.load()
	if state.due(now, state.usable(now) && found(state.keys)) {
		state = p.refetch(ctx, c, state)
	}
	return state.result(now)
}

// result returns the keys if they may be used.
func (s *remoteKeysState) result(now time.Time) ([]jose.JSONWebKey, error) {
	if !s.usable(now) {
		return nil, unavailable(errKeysUnavailable)
	}
	return s.keys, nil
}

// refetch fetches the keys and returns the state after it. It goes on if the
// request that it happens in does not: others wait for it.
func (p *Provider) refetch(ctx context.Context, c *client, state remoteKeysState) remoteKeysState {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callbackTimeout)
	defer cancel()
	keys, err := p.fetchKeys(ctx, c.remote.url)
	if err != nil {
		p.log.Error("fetching the keys of a client failed", zap.String("client", c.ID), zap.Error(err))
		state.failed = p.now()
	} else {
		state = remoteKeysState{keys: keys, fetched: p.now()}
	}
	c.remote.store(state)
	return state
}

// fetchKeys fetches a JSON Web Key Set, by the same way and with the same care as
// clients are called.
func (p *Provider) fetchKeys(ctx context.Context, url string) ([]jose.JSONWebKey, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("making request: %w", err)
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := p.callbacks.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer has the status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRemoteKeys+1))
	if err != nil {
		return nil, fmt.Errorf("reading answer: %w", err)
	}
	if len(body) > maxRemoteKeys {
		return nil, errors.New("the answer is too large")
	}
	return readForeignKeys(body)
}

// readForeignKeys reads a JWKS that nobody has looked over. Keys that are not for
// us, or not fit for anything, are left out rather than refused: the others of the
// set may be what the client signs with.
func readForeignKeys(data []byte) ([]jose.JSONWebKey, error) {
	err := checkJSON(data)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	err = json.Unmarshal(data, &set)
	if err != nil {
		return nil, fmt.Errorf("reading JWKS: %w", err)
	}
	if set.Keys == nil || len(set.Keys) > maxRemoteKeyNumber {
		return nil, errors.New("JWKS has no keys, or too many")
	}
	keys := []jose.JSONWebKey{}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		err = key.UnmarshalJSON(raw)
		if err != nil || key.Use == "enc" || !key.Valid() || !key.IsPublic() {
			continue
		}
		if len(keyAlgs(key)) > 0 || len(key.Certificates) > 0 {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// verifyByClient checks that a JWT was signed by the client.
func (p *Provider) verifyByClient(ctx context.Context, c *client, jwt *parsedJWT, algs []string) error {
	found := func(keys []jose.JSONWebKey) bool { return len(jwt.fitting(keys)) > 0 }
	keys, err := p.keysOf(ctx, c, found)
	if err != nil {
		return err
	}
	return jwt.verify(keys, algs)
}

// hasKeys reports whether the client has registered keys, here or at a URL.
func (c *client) hasKeys() bool { return len(c.keys) > 0 || c.remote != nil }
