package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// keepFor bounds what is asked of the store for a log.
const keepFor = 10 * time.Second

// RecorderConfig configures a Recorder.
type RecorderConfig struct {
	// Path, Node, MaxSize and Now are those of Config.
	Path    string
	Node    string
	MaxSize int64
	Now     func() time.Time

	// Keeper has the key and the last checkpoint. Required.
	Keeper *Keeper

	// Failed is told of a checkpoint that could not be kept elsewhere, and Signed of
	// each checkpoint, by any goroutine. Optional.
	Failed func(error)
	Signed func(Checkpoint)
}

// Recorder opens a log when the first entry comes, and again after a failure, with
// what a store keeps for it. It is safe for concurrent use.
type Recorder struct {
	cfg RecorderConfig

	mu     sync.Mutex
	log    *Log
	closed bool

	keeping sync.WaitGroup
	kept    sync.Mutex
	last    uint64 // of what was kept
}

// NewRecorder returns a recorder. It touches neither the file nor the store.
func NewRecorder(cfg RecorderConfig) *Recorder {
	if cfg.Failed == nil {
		cfg.Failed = func(error) {}
	}
	if cfg.Signed == nil {
		cfg.Signed = func(Checkpoint) {}
	}
	return &Recorder{cfg: cfg}
}

// Append is Log.Append. The context bounds the opening of the log alone.
func (r *Recorder) Append(ctx context.Context, e Entry, durable bool) error {
	log, err := r.open(ctx)
	if err != nil {
		return err
	}
	return log.Append(e, durable)
}

// open returns the log, and opens it if it is not. Who comes meanwhile waits.
func (r *Recorder) open(ctx context.Context) (*Log, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, ErrClosed
	case r.log != nil:
		return r.log, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepFor)
	defer cancel()
	key, err := r.cfg.Keeper.Key(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening audit log: %w", err)
	}
	last, err := r.cfg.Keeper.Last(ctx, r.place())
	if err != nil {
		return nil, fmt.Errorf("opening audit log: %w", err)
	}
	r.log, err = Open(Config{
		Path: r.cfg.Path, Node: r.cfg.Node, Key: key, MaxSize: r.cfg.MaxSize, Now: r.cfg.Now,
		Last: last, Remember: r.remember,
	})
	return r.log, err
}

// place names the log among those of all nodes.
func (r *Recorder) place() string { return r.cfg.Node + "\x00" + r.cfg.Path }

// remember keeps a checkpoint without holding the log up.
func (r *Recorder) remember(c Checkpoint) {
	r.cfg.Signed(c)
	r.keeping.Go(func() {
		r.kept.Lock()
		defer r.kept.Unlock()
		if c.Seq <= r.last {
			return // a later one was faster
		}
		ctx, cancel := context.WithTimeout(context.Background(), keepFor)
		defer cancel()
		err := r.cfg.Keeper.Keep(ctx, r.place(), c)
		if err != nil {
			r.cfg.Failed(fmt.Errorf("keeping checkpoint of audit log: %w", err))
			return
		}
		r.last = c.Seq
	})
}

// Status returns where the log is: its path, its node, and its last line if it is
// open.
func (r *Recorder) Status() (path, node string, last Checkpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.log != nil {
		last = r.log.Last()
	}
	return r.cfg.Path, r.cfg.Node, last
}

// Close closes the log, and waits until its last checkpoint is kept.
func (r *Recorder) Close() error {
	r.mu.Lock()
	r.closed = true
	log := r.log
	r.mu.Unlock()
	if log == nil {
		return nil
	}
	err := log.Close()
	r.keeping.Wait()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}
