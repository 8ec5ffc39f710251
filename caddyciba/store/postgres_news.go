package store

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	newsChannel = "ciba_store"

	// everything is the word for more changes than were worth keeping apart.
	everything = "*"

	// The server takes payloads of less than 8000 bytes.
	maxNewsPayload = 7900

	// maxNewsPending bounds what is kept while the database is away.
	maxNewsPending = 10_000

	// A listener that has heard nothing for so long asks whether its
	// connection is still alive.
	newsSilence     = 15 * time.Second
	newsPingTimeout = 5 * time.Second

	// newsFarewell is how long Close waits to tell of the last changes.
	newsFarewell = time.Second

	minReconnect = 100 * time.Millisecond
	maxReconnect = 5 * time.Second
)

// postgresNews gathers the changes made by this node that the others have not
// been told of.
//
// They are not told by the writing transactions themselves: of transactions
// that NOTIFY, PostgreSQL commits only one at a time in the whole server, each
// waiting for the disk. One statement for all changes since the last one, in a
// transaction that need not wait for the disk, leaves the writers alone.
type postgresNews struct {
	node string // tells our own news from those of others

	mu      sync.Mutex
	pending map[watchKey]struct{}
	all     bool

	wake chan struct{} // holds a value when something is pending
}

func newPostgresNews() *postgresNews {
	return &postgresNews{
		node:    rand.Text(),
		pending: make(map[watchKey]struct{}),
		wake:    make(chan struct{}, 1),
	}
}

func (n *postgresNews) add(kind, id string, before, after []Index) {
	n.mu.Lock()
	n.put(recordWatch(kind, id))
	for _, x := range before {
		n.put(indexWatch(kind, x))
	}
	for _, x := range after {
		n.put(indexWatch(kind, x))
	}
	n.mu.Unlock()
	n.signal()
}

// put needs the lock to be held.
func (n *postgresNews) put(key watchKey) {
	if n.all {
		return
	}
	n.pending[key] = struct{}{}
	if len(n.pending) > maxNewsPending {
		n.all = true
		clear(n.pending)
	}
}

func (n *postgresNews) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// take returns what is pending as payloads.
func (n *postgresNews) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all {
		n.all = false
		return []string{n.node + " " + everything}
	}
	var payloads []string
	var payload strings.Builder
	for key := range n.pending {
		word := encodeWatch(key)
		if payload.Len()+1+len(word) > maxNewsPayload {
			payloads = append(payloads, payload.String())
			payload.Reset()
		}
		if payload.Len() == 0 {
			payload.WriteString(n.node)
		}
		payload.WriteByte(' ')
		payload.WriteString(word)
	}
	if payload.Len() > 0 {
		payloads = append(payloads, payload.String())
	}
	clear(n.pending)
	return payloads
}

// lost notes that news were taken and could not be told.
func (n *postgresNews) lost() {
	n.mu.Lock()
	n.all = true
	clear(n.pending)
	n.mu.Unlock()
	n.signal()
}

// tell tells the other nodes of changes until the context ends.
func (p *Postgres) tell(ctx context.Context) {
	pause := minReconnect
	for {
		select {
		case <-ctx.Done():
			farewell, cancel := context.WithTimeout(context.WithoutCancel(ctx), newsFarewell)
			defer cancel()
			// What fails now is lost, as the contract of Watch warns.
			_ = p.tellPending(farewell)
			return
		case <-p.news.wake:
		}
		err := p.tellPending(ctx)
		if err == nil {
			pause = minReconnect
			continue
		}
		p.news.lost()
		sleep(ctx, pause)
		pause = min(2*pause, maxReconnect)
	}
}

func (p *Postgres) tellPending(ctx context.Context) error {
	payloads := p.news.take()
	if len(payloads) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	_, err := p.pool.Exec(ctx, `SELECT pg_notify($1, payload) FROM set_config('synchronous_commit', 'off', true), unnest($2::text[]) AS payload`,
		newsChannel, payloads)
	return err
}

// listen wakes the watchers of this node when another one tells of changes. It
// keeps a connection of its own until the context ends.
func (p *Postgres) listen(ctx context.Context) {
	pause := minReconnect
	for ctx.Err() == nil {
		heard := p.listenOnce(ctx)
		if heard {
			pause = minReconnect
		}
		sleep(ctx, pause)
		pause = min(2*pause, maxReconnect)
	}
}

// listenOnce listens until the connection breaks, and reports whether there
// was one.
func (p *Postgres) listenOnce(ctx context.Context) (connected bool) {
	connecting, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, p.pool.Config().ConnConfig)
	if err != nil {
		return false
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), newsFarewell)
		defer cancel()
		_ = conn.Close(closing)
	}()
	_, err = conn.Exec(connecting, "LISTEN "+newsChannel)
	if err != nil {
		return false
	}
	// Whatever was told before went unheard.
	p.watches.wakeAll()
	for {
		err = p.hear(ctx, conn, newsSilence)
		if err != nil {
			return true
		}
	}
}

// hear waits for news, or makes sure that silence is not a dead connection.
func (p *Postgres) hear(ctx context.Context, conn *pgx.Conn, silence time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	notification, err := conn.WaitForNotification(waiting)
	if err == nil {
		p.heard(notification.Payload)
		return nil
	}
	if ctx.Err() != nil || waiting.Err() == nil || conn.IsClosed() {
		return err
	}
	pinging, cancel := context.WithTimeout(ctx, newsPingTimeout)
	defer cancel()
	return conn.Ping(pinging)
}

// heard wakes who watches what a payload tells of. Anybody with access to the
// database can send anything; the worst that it does is to wake a watcher for
// nothing.
func (p *Postgres) heard(payload string) {
	node, words, _ := strings.Cut(payload, " ")
	if node == p.news.node {
		return
	}
	if words == everything {
		p.watches.wakeAll()
		return
	}
	for word := range strings.SplitSeq(words, " ") {
		key, ok := decodeWatch(word)
		if ok {
			p.watches.wakeKey(key)
		}
	}
}

// encodeWatch writes a key as one word. Its parts contain no NUL.
func encodeWatch(key watchKey) string {
	return base64.RawURLEncoding.EncodeToString([]byte(key.kind + "\x00" + key.index + "\x00" + key.value))
}

func decodeWatch(word string) (watchKey, bool) {
	b, err := base64.RawURLEncoding.DecodeString(word)
	if err != nil {
		return watchKey{}, false
	}
	parts := strings.Split(string(b), "\x00")
	if len(parts) != 3 {
		return watchKey{}, false
	}
	return watchKey{kind: parts[0], index: parts[1], value: parts[2]}, true
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
