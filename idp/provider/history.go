package provider

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// indexHistory finds the requests of a subject that are over, by the window of
	// time in which they were made.
	indexHistory = "history"

	// historyWindow is how long such a window is. Index values in the store depend on
	// it.
	historyWindow = 28 * 24 * time.Hour

	// maxHistory bounds Config.History.
	maxHistory = 10 * 366 * 24 * time.Hour

	historyBatch   = 200
	maxHistoryPage = 100
)

// HistoryPage is a part of what a subject was asked.
type HistoryPage struct {
	// Requests are the requests, the newest first.
	Requests []*Request

	// Next is the cursor of the page behind this one. Empty if there is none.
	Next string
}

// historyCursor is a place in the history: behind a request.
type historyCursor struct {
	created int64
	id      string
}

var cursorPattern = regexp.MustCompile(`^([0-9a-z]{1,11})\.([A-Za-z0-9_-]{43})$`)

func (c historyCursor) String() string { return strconv.FormatInt(c.created, 36) + "." + c.id }

// parseCursor reads a cursor. The empty one is before everything.
func parseCursor(s string) (historyCursor, error) {
	if s == "" {
		return historyCursor{created: 1<<63 - 1}, nil
	}
	parts := cursorPattern.FindStringSubmatch(s)
	if parts == nil {
		return historyCursor{}, ErrCursor
	}
	created, err := strconv.ParseInt(parts[1], 36, 64)
	if err != nil {
		return historyCursor{}, ErrCursor
	}
	return historyCursor{created: created, id: parts[2]}, nil
}

// compareAge orders by age, the newest first.
func (c historyCursor) compareAge(other historyCursor) int {
	if c.created != other.created {
		if c.created > other.created {
			return -1
		}
		return 1
	}
	return strings.Compare(other.id, c.id)
}

func (h *heldRequest) cursor() historyCursor { return historyCursor{created: h.Created, id: h.id} }

func historyWindowOf(created int64) int64 { return created / historyWindow.Milliseconds() }

func historyIndex(subject string, window int64) store.Index {
	return store.Index{Name: indexHistory, Value: subject + "\t" + strconv.FormatInt(window, 10)}
}

// enterHistory keeps a request that is about to be over, with the name under which
// its client was shown. It is part of the write that ends the request: there is no
// decision without its place in the history.
func (p *Provider) enterHistory(h *heldRequest) {
	if p.cfg.History <= 0 || h.State == StatePending || h.HistoryUntil != 0 || isDecoy(h.Subject) {
		return
	}
	h.HistoryUntil = p.now().Add(p.cfg.History).UnixMilli()
	h.ClientName = p.clientInfo(h.Client).Name
}

// History returns the requests of a subject that are decided, cancelled or expired,
// the newest first: at most limit of them and at most 100, behind the cursor of the
// last page ("" for the first). They are kept for Config.History. It returns ErrCursor
// for a cursor that is none. A request that has expired without its client coming
// back is found if the history is read within ten minutes.
func (p *Provider) History(ctx context.Context, subject, after string, limit int) (*HistoryPage, error) {
	from, err := parseCursor(after)
	if err != nil {
		return nil, err
	}
	page := new(HistoryPage)
	if !isSubject(subject) || p.cfg.History <= 0 || limit <= 0 {
		return page, nil
	}
	if after == "" {
		p.expireUnseen(ctx, subject)
	}
	limit = min(limit, maxHistoryPage)
	now := p.now()
	window := min(historyWindowOf(from.created), historyWindowOf(now.UnixMilli()))
	oldest := historyWindowOf(now.Add(-p.cfg.History - p.cfg.MaxRequestLifetime).UnixMilli())
	var found []*heldRequest
	for ; window >= oldest && len(found) <= limit; window-- {
		older, err := p.historyOf(ctx, historyIndex(subject, window), from, limit+1-len(found))
		if err != nil {
			return nil, err
		}
		found = append(found, older...)
	}
	if len(found) > limit {
		found = found[:limit]
		page.Next = found[limit-1].cursor().String()
	}
	for _, h := range found {
		page.Requests = append(page.Requests, p.describe(h))
	}
	return page, nil
}

// historyOf returns the newest requests of one window behind a cursor. The store
// lists them in no order of use, so all are looked at and few are kept.
func (p *Provider) historyOf(ctx context.Context, index store.Index, from historyCursor, limit int) ([]*heldRequest, error) {
	var newest []*heldRequest
	after := ""
	for {
		stored, err := p.cfg.Store.List(ctx, kindRequest, index, after, historyBatch)
		if err != nil {
			return nil, fmt.Errorf("listing history: %w", err)
		}
		for _, record := range stored {
			after = record.ID
			h, err := decodeRequest(record)
			if err != nil {
				p.logUnreadable(record, err)
				continue
			}
			if from.compareAge(h.cursor()) < 0 {
				newest = append(newest, h)
			}
		}
		slices.SortFunc(newest, func(a, b *heldRequest) int { return a.cursor().compareAge(b.cursor()) })
		newest = newest[:min(len(newest), limit)]
		if len(stored) < historyBatch {
			return newest, nil
		}
	}
}

// expireUnseen writes down which requests of a subject have expired while nobody was
// looking, so that they enter the history. Its faults only leave them out.
func (p *Provider) expireUnseen(ctx context.Context, subject string) {
	stored, err := p.listPending(ctx, subject, maxPendingListed)
	if err != nil {
		p.log.Warn("looking for expired requests", zap.Error(err))
		return
	}
	for _, record := range stored {
		h, err := decodeRequest(record)
		if err != nil {
			p.logUnreadable(record, err)
			continue
		}
		if h.State != StatePending || h.stateAt(p.now()) != StateExpired {
			continue
		}
		err = p.expire(ctx, h)
		if err != nil && !errors.Is(err, context.Canceled) {
			p.log.Warn("writing down an expired request", zap.String("request", h.id), zap.Error(err))
		}
	}
}
