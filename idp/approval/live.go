package approval

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/provider"
)

const (
	// streamLifetime is how long a stream of events lasts. The browser opens
	// the next one by itself. A short life bounds what a reader costs that
	// has stalled or whose session has ended, and how long a server that
	// stops has to wait.
	streamLifetime = 25 * time.Second

	// streamWrite is how long writing one event may take.
	streamWrite = 10 * time.Second

	// sessionStreams is how many streams one session may have open.
	sessionStreams = 10

	// maxStreams is how many streams may be open in all.
	maxStreams = 10_000
)

var errStreams = errors.New("too many streams of events")

// streams are the open streams of events.
type streams struct {
	mu        sync.Mutex
	open      int
	bySession map[string]int
	end       chan struct{} // closed to end those that are open
}

func newStreams() *streams {
	return &streams{bySession: map[string]int{}, end: make(chan struct{})}
}

// enter counts a stream and returns what ends it, or errStreams.
func (s *streams) enter(session string) (end <-chan struct{}, leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= maxStreams || s.bySession[session] >= sessionStreams {
		return nil, nil, errStreams
	}
	s.open++
	s.bySession[session]++
	return s.end, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		s.bySession[session]--
		if s.bySession[session] == 0 {
			delete(s.bySession, session)
		}
	}, nil
}

// EndStreams ends the streams of events that are open now, so that a server
// which stops need not wait for them; browsers open new ones. It may be called
// at any time.
func (a *App) EndStreams() {
	a.streams.mu.Lock()
	defer a.streams.mu.Unlock()
	close(a.streams.end)
	a.streams.end = make(chan struct{})
}

// serveEvents answers GET /events: a stream that says which requests wait, at
// once and after each change, on whatever node the change was made. An event
// holds ids only; what they stand for is on pages that ask for the session
// themselves.
func (a *App) serveEvents(w http.ResponseWriter, r *http.Request, _ match) {
	s, err := a.session(r)
	if errors.Is(err, errNoSession) {
		// No redirect: a browser would read the sign-in page as events.
		a.refuse(w, r, nil, http.StatusUnauthorized, err)
		return
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	end, leave, err := a.streams.enter(s.record.ID)
	if err != nil {
		setRetryAfter(w, streamLifetime)
		a.refuse(w, r, s, http.StatusTooManyRequests, err)
		return
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), streamLifetime)
	defer cancel()
	changes, stop := a.cfg.Provider.WatchSubject(s.data.Subject)
	defer stop()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	last := "none yet"
	for {
		ids, next, err := a.pendingIDs(ctx, s.data.Subject)
		if err != nil {
			a.endStream(ctx, err)
			return
		}
		if ids != last {
			err = writeEvent(w, out, ids)
			if err != nil {
				return
			}
			last = ids
		}
		if !waitForChange(ctx, changes, end, next) {
			return
		}
	}
}

// endStream notes why a stream ended early, unless the reader has left.
func (a *App) endStream(ctx context.Context, err error) {
	if ctx.Err() == nil {
		a.cfg.Logger.Error("reading what waits", zap.Error(err))
	}
}

// writeEvent writes one event and pushes it out. A reader that does not take it
// in time is left.
func writeEvent(w http.ResponseWriter, out *http.ResponseController, ids string) error {
	err := out.SetWriteDeadline(time.Now().Add(streamWrite))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err = fmt.Fprintf(w, "retry: 1000\nevent: pending\ndata: %s\n\n", ids)
	if err != nil {
		return err
	}
	return out.Flush()
}

// waitForChange waits for a change or for the next request to expire. It returns
// false when the stream is over.
func waitForChange(ctx context.Context, changes, end <-chan struct{}, next time.Duration) bool {
	timer := time.NewTimer(next)
	defer timer.Stop()
	select {
	case <-changes:
		return true
	case <-timer.C:
		return true
	case <-end:
	case <-ctx.Done():
	}
	return false
}

// pendingIDs returns the ids of what waits for a customer, in one line and in a
// stable order, and the time until the first of them expires.
func (a *App) pendingIDs(ctx context.Context, subject string) (ids string, next time.Duration, err error) {
	pending, err := a.cfg.Provider.Pending(ctx, subject)
	if err != nil {
		return "", 0, err
	}
	next = streamLifetime
	now := a.cfg.Now()
	var list []string
	for _, req := range pending {
		left := req.ExpiresAt.Sub(now)
		if req.State != provider.StatePending || left <= 0 {
			continue
		}
		next = min(next, left+time.Millisecond)
		list = append(list, req.ID)
	}
	slices.Sort(list)
	return strings.Join(list, " "), next, nil
}
