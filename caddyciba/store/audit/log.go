package audit

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	// checkpointAfter is how long an entry waits to be signed, and checkpointEvery
	// how many entries wait at most.
	checkpointAfter = time.Minute
	checkpointEvery = 1000

	// defaultMaxSize is the size of a file in bytes behind which another one begins.
	defaultMaxSize = 100 << 20
)

// ErrClosed says that the log was closed.
var ErrClosed = errors.New("audit log is closed")

// Checkpoint names a signed line, and with it all in front of it.
type Checkpoint struct {
	// Seq is the number of the line, Hash its hash.
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// String writes the checkpoint as ParseCheckpoint reads it.
func (c Checkpoint) String() string { return strconv.FormatUint(c.Seq, 10) + ":" + c.Hash }

// Config configures a Log.
type Config struct {
	// Path is the file. It is made with mode 0600 if it is not there. Required.
	Path string

	// Node names this process among those that have logs of their own. Required.
	Node string

	// Key signs checkpoints. Required.
	Key ed25519.PrivateKey

	// MaxSize is the size in bytes behind which the file is renamed, to its name and
	// the number of its last line, and another one begins that continues it. Default:
	// 100 MiB.
	MaxSize int64

	// Last is the last checkpoint that Remember was told, if any. Of lines that are
	// missing it leaves a trace in the log.
	Last Checkpoint

	// Remember is told every checkpoint, by any goroutine and one at a time. It
	// should write it down elsewhere. Optional.
	Remember func(Checkpoint)

	// Now is the clock of the entries. Default: time.Now.
	Now func() time.Time
}

// Log is an open log. It is safe for concurrent use. Open makes one; it has no
// goroutine, and a timer while entries wait to be signed.
type Log struct {
	cfg Config

	mu       sync.Mutex
	file     *os.File // nil after a failure, until the next entry tries again
	size     int64
	last     Checkpoint // the last line; not only signed ones
	unsigned int
	faults   int // how often the file was given up
	timer    *time.Timer
	closed   bool

	// syncing lets those that wait for the disk go together. It is taken before mu
	// or without it.
	syncing sync.Mutex
	synced  uint64
}

// Open opens a log, or begins it. If the last line cannot be read, has another hash
// than its own, or the file is being written by another process, it returns an error:
// nothing is written behind what is not in order. Whatever it finds to tell stands in
// the log behind it; see the package comment.
func Open(cfg Config) (*Log, error) {
	switch {
	case cfg.Path == "" || cfg.Node == "":
		return nil, errors.New("audit log needs a path and a node")
	case len(cfg.Key) != ed25519.PrivateKeySize:
		return nil, errors.New("audit log needs a key")
	}
	if cfg.MaxSize <= 0 {
		cfg.MaxSize = defaultMaxSize
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &Log{cfg: cfg}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.open()
	if err != nil {
		return nil, fmt.Errorf("opening audit log: %w", err)
	}
	return l, nil
}

// Path returns the path of the file that is being written.
func (l *Log) Path() string { return l.cfg.Path }

// Last returns the number and hash of the last line.
func (l *Log) Last() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Append writes an entry. With durable it returns once the entry is on the disk. After
// an error nobody knows whether the entry is there, whole or in part; the next one
// finds out.
func (l *Log) Append(e Entry, durable bool) error {
	seq, err := l.append(e)
	if err != nil {
		return fmt.Errorf("writing audit log: %w", err)
	}
	if !durable {
		return nil
	}
	err = l.sync(seq)
	if err != nil {
		return fmt.Errorf("writing audit log: %w", err)
	}
	return nil
}

func (l *Log) append(e Entry) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, ErrClosed
	}
	if l.file == nil {
		err := l.open()
		if err != nil {
			return 0, err
		}
	}
	err := l.rotate()
	if err != nil {
		return 0, err
	}
	err = l.write(e, own{}, nil)
	if err != nil {
		return 0, err
	}
	seq := l.last.Seq
	l.unsigned++
	if l.unsigned >= checkpointEvery {
		return seq, l.checkpoint()
	}
	if l.timer == nil {
		l.timer = time.AfterFunc(checkpointAfter, l.signLate)
	}
	return seq, nil
}

// write writes one line. After an error the file is given up.
func (l *Log) write(e Entry, o own, key ed25519.PrivateKey) error {
	return l.writeBehind(nil, e, o, key)
}

// writeBehind writes something and one line behind it, in one go.
func (l *Log) writeBehind(lead []byte, e Entry, o own, key ed25519.PrivateKey) error {
	full := &line{
		head:  head{Version: lineVersion, Seq: l.last.Seq + 1, Time: l.cfg.Now().UTC(), Node: l.cfg.Node, Prev: l.last.Hash},
		Entry: e,
		own:   o,
	}
	text, hash, err := full.encode(key)
	if err != nil {
		return err
	}
	n, err := l.file.Write(append(lead, text...))
	l.size += int64(n)
	if err != nil {
		l.giveUp()
		return err
	}
	l.last = Checkpoint{Seq: full.Seq, Hash: hash}
	return nil
}

// giveUp closes the file. What is left of the last line is found by the next open.
func (l *Log) giveUp() {
	l.faults++
	l.release()
}

func (l *Log) release() {
	_ = l.file.Close()
	l.file = nil
}

// sync waits until a line is on the disk. One call of the system serves all that wait.
func (l *Log) sync(seq uint64) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if l.synced >= seq {
		return nil
	}
	l.mu.Lock()
	file, upTo, faults := l.file, l.last.Seq, l.faults
	l.mu.Unlock()
	if file == nil {
		return errLost
	}
	err := file.Sync()
	if err == nil {
		l.synced = upTo
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == file {
		l.giveUp()
		return err
	}
	if l.faults == faults {
		// It is full, and another one has begun, which is not done before all of
		// it is on the disk.
		return nil
	}
	return err
}

// checkpoint signs all lines up to here.
func (l *Log) checkpoint() error {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	public, _ := l.cfg.Key.Public().(ed25519.PublicKey)
	err := l.write(Entry{Event: EventCheckpoint}, own{Key: public}, l.cfg.Key)
	if err != nil {
		return err
	}
	l.unsigned = 0
	if l.cfg.Remember != nil {
		l.cfg.Remember(l.last)
	}
	return nil
}

// signLate is what the timer does. A failure is found again by the next entry.
func (l *Log) signLate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = nil
	if l.closed || l.file == nil || l.unsigned == 0 {
		return
	}
	_ = l.checkpoint()
}

// Close signs what is not signed yet, and closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if l.file == nil {
		return nil
	}
	err := l.write(Entry{Event: EventClosed}, own{}, nil)
	if err == nil {
		err = l.checkpoint()
	}
	if err == nil {
		err = l.file.Sync()
	}
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
		l.file = nil
	}
	if err != nil {
		return fmt.Errorf("closing audit log: %w", err)
	}
	return nil
}

// rotate begins another file if this one is full.
func (l *Log) rotate() error {
	if l.size < l.cfg.MaxSize {
		return nil
	}
	err := l.checkpoint()
	if err != nil {
		return err
	}
	err = l.file.Sync()
	if err != nil {
		l.giveUp()
		return err
	}
	l.release()
	err = os.Rename(l.cfg.Path, l.cfg.Path+"."+strconv.FormatUint(l.last.Seq, 10))
	if err != nil {
		return fmt.Errorf("renaming full file: %w", err)
	}
	return l.open()
}

// syncDir puts the name of a new file on the disk.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}
