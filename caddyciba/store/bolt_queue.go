package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// One turn of the writer takes so many writes, and so many bytes, at most;
	// the bytes are held in memory until it ends.
	maxBatch      = 1024
	maxBatchBytes = 64 << 20

	// gatherStep is how long a turn waits for the writers that were there a moment
	// ago, and again for as long as more of them come, but not more often than
	// gatherSteps. A write to the disk costs about the same, in the disk and in the
	// processor, whether it carries one record or many.
	gatherStep  = time.Millisecond
	gatherSteps = 4
)

// boltQueue holds the writes that wait for the writer.
type boltQueue struct {
	mu       sync.Mutex
	waiting  []*boltOp
	expected int // wake the writer when so many wait
	closed   bool
	swept    error // of the last sweep

	wake  chan struct{} // holds a value when the writer should look
	ended chan struct{} // closed when the writer has ended
}

func (q *boltQueue) init() {
	q.wake = make(chan struct{}, 1)
	q.ended = make(chan struct{})
}

func (q *boltQueue) add(op *boltOp) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	op.done = doneChannels.Get().(chan struct{})
	q.waiting = append(q.waiting, op)
	enough := len(q.waiting) >= q.expected
	q.mu.Unlock()
	if enough {
		q.signal()
	}
	return nil
}

// gather waits until as many writes wait as there were writers lately, but not
// for long.
func (q *boltQueue) gather(writers int) {
	if writers <= 1 || !q.expect(writers) {
		return
	}
	defer q.expectAny()
	timer := time.NewTimer(gatherStep)
	defer timer.Stop()
	came := q.backlog()
	for range gatherSteps {
		select {
		case <-q.wake:
			return
		case <-timer.C:
		}
		before := came
		came = q.backlog()
		if came == before {
			return
		}
		timer.Reset(gatherStep)
	}
}

// expectation is how many writers are expected in the next turn. It follows those
// that came, and now and then it tries one more: whether more would come is only
// seen by waiting for them.
type expectation struct {
	writers int
	met     int // times in a row
}

const expectMoreAfter = 4

// learn takes note of how many writes a turn had, and how many more were there when
// it ended.
func (e *expectation) learn(came, waiting int) {
	if came >= e.writers {
		e.met++
	} else {
		e.writers -= (e.writers - came + 1) / 2
		e.met = 0
	}
	if e.met >= expectMoreAfter && e.writers > 1 { // a lone writer shall not wait
		e.writers, e.met = e.writers+1, 0
	}
	e.writers = max(e.writers, came+waiting)
}

// expectAny lets the next write wake the writer.
func (q *boltQueue) expectAny() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expected = 0
}

// expect sets how many writes must wait for the writer to be woken, and reports
// whether there is something to wait for.
func (q *boltQueue) expect(writers int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting) >= writers {
		q.expected = 0
		return false
	}
	q.expected = writers
	select {
	case <-q.wake: // for writes that are known already
	default:
	}
	return true
}

// backlog returns how many writes wait.
func (q *boltQueue) backlog() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

func (q *boltQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// withdraw takes a write back that the writer has not begun with, and reports
// whether it could.
func (q *boltQueue) withdraw(op *boltOp) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, op)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// take returns the writes for one transaction, in the order of their arrival.
func (q *boltQueue) take() []*boltOp {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) && n < maxBatch && (n == 0 || size+q.waiting[n].size() <= maxBatchBytes) {
		size += q.waiting[n].size()
		n++
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	return batch
}

// close lets no more writes in and reports whether it was the first to do so.
func (q *boltQueue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.closed = true
	q.signal()
	return true
}

func (q *boltQueue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// drained reports whether the queue is closed and nothing waits any more.
func (q *boltQueue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && len(q.waiting) == 0
}

func (q *boltQueue) setSwept(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.swept = err
}

func (q *boltQueue) sweepFailure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.swept
}

// do hands a write to the writer and waits for its end, if it can't be done at once.
func (b *Bolt) do(ctx context.Context, op *boltOp) error {
	err := live(ctx)
	if err != nil {
		return err
	}
	if op.change != nil && op.change.relaxed && b.relax(op) {
		return b.explain("writing to", op.err)
	}
	err = b.writes.add(op)
	if err != nil {
		return err
	}
	return b.wait(ctx, op)
}

// doneChannels are for writers to wait at. Nothing is in them, or will be.
var doneChannels = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

// wait waits for the end of a write. If the context ends first, the write is
// withdrawn, or left to its fate if it has begun.
func (b *Bolt) wait(ctx context.Context, op *boltOp) error {
	select {
	case <-op.done:
		doneChannels.Put(op.done)
		return b.explain("writing to", op.err)
	case <-ctx.Done():
	}
	if b.writes.withdraw(op) {
		doneChannels.Put(op.done)
		return fmt.Errorf("waiting to write to store %s: %w", b.path, ctx.Err())
	}
	select {
	case <-op.done: // just now; it is better to know than not to
		return b.explain("writing to", op.err)
	default:
	}
	return fmt.Errorf("writing to store %s, outcome unknown: %w", b.path, ctx.Err())
}
