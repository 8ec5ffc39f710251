package audit

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Expect is what a reader of logs knows from elsewhere. The zero value knows nothing.
type Expect struct {
	// Key is the key of all checkpoints. Default: that of the first one, and then all
	// others have to have it, too.
	Key ed25519.PublicKey

	// Checkpoints must be in the logs. One that is not shows that the end was cut
	// off, or all of it written anew.
	Checkpoints []Checkpoint
}

// Report is what a verification has found.
type Report struct {
	// Lines is the number of lines, First and Last the numbers of the first and the
	// last one.
	Lines       int
	First, Last uint64

	// LastHash is the hash of the last line.
	LastHash string

	// Signed is the last checkpoint, Unsigned how many lines stand behind it: nothing
	// shows that there were not more.
	Signed   Checkpoint
	Unsigned int

	// Key is the key of the checkpoints.
	Key ed25519.PublicKey

	// Nodes are those that have written, in the order in which they appear.
	Nodes []string

	// Torn and Truncated are the numbers of the lines that tell of remains of a
	// process that has died, and of lines that are missing.
	Torn, Truncated []uint64
}

// FaultError says where a log is not what was written.
type FaultError struct {
	// File and Line say where, the line counted from 1.
	File string
	Line int

	// Err says what is wrong.
	Err error
}

// Error names file and line, and what is wrong.
func (e *FaultError) Error() string {
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap returns what is wrong.
func (e *FaultError) Unwrap() error { return e.Err }

// ParseCheckpoint reads what Checkpoint.String has written.
func ParseCheckpoint(text string) (Checkpoint, error) {
	seq, hash, ok := strings.Cut(text, ":")
	number, err := strconv.ParseUint(seq, 10, 64)
	raw, badHash := base64.RawURLEncoding.DecodeString(hash)
	if !ok || err != nil || badHash != nil || len(raw) != 32 {
		return Checkpoint{}, errors.New("a checkpoint is a number, a colon and a hash")
	}
	return Checkpoint{Seq: number, Hash: hash}, nil
}

// Verify reads files of one log, in the order in which they were written, and finds
// out whether they are what was written. The first fault ends it; the error is a
// *FaultError then, and the report tells of the lines in front of it. If a file is
// missing in front of the first one, that shows in Report.First alone.
func Verify(expect Expect, files ...string) (*Report, error) {
	v := newVerifier(expect)
	for _, name := range files {
		err := v.file(name)
		if err != nil {
			return v.report, err
		}
	}
	return v.report, v.missed()
}

func newVerifier(expect Expect) *verifier {
	return &verifier{expect: expect, report: &Report{Key: expect.Key}, found: make(map[Checkpoint]bool)}
}

type verifier struct {
	expect Expect
	report *Report
	found  map[Checkpoint]bool

	name    string
	number  int
	remains []byte // lines that are none, which the next one has to tell of
	prev    string
}

// missed says which checkpoint is not there.
func (v *verifier) missed() error {
	for _, c := range v.expect.Checkpoints {
		if !v.found[c] {
			return &FaultError{File: v.name, Line: v.number, Err: fmt.Errorf("the log does not have the checkpoint %s", c)}
		}
	}
	return nil
}

func (v *verifier) file(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("reading audit log: %w", err)
	}
	defer func() { _ = file.Close() }()
	return v.read(name, file)
}

func (v *verifier) read(name string, file io.Reader) error {
	v.name, v.number = name, 0
	r := bufio.NewReaderSize(file, 64<<10)
	for {
		text, err := readLine(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading audit log: %w", err)
		}
		v.number++
		err = v.line(text)
		if err != nil {
			return &FaultError{File: v.name, Line: v.number, Err: err}
		}
	}
	if len(v.remains) > 0 {
		return &FaultError{File: v.name, Line: v.number, Err: fmt.Errorf("the last line is not whole: %w", errNotALine)}
	}
	return nil
}

func (v *verifier) line(text []byte) error {
	l, hash, err := decode(text)
	if errors.Is(err, errNotALine) && len(v.remains)+len(text) <= maxRemains {
		v.remains = append(v.remains, text...)
		return nil
	}
	if err != nil {
		return err
	}
	torn := l.Event == EventTorn
	if !torn && len(v.remains) > 0 || torn && (l.Length != len(v.remains) || l.Remains != sum(v.remains)) {
		return fmt.Errorf("what stands in front of this line is not what it was: %w", errNotALine)
	}
	v.remains = v.remains[:0]
	r := v.report
	switch {
	case r.Lines == 0:
		r.First = l.Seq
		if l.Seq == 0 || (l.Seq == 1) != (l.Prev == "") || l.Seq > 1 && l.Previous == "" {
			return errors.New("lines are missing in front of the first one")
		}
	case l.Seq != r.Last+1:
		return fmt.Errorf("line %d follows line %d: lines are missing, or in another order", l.Seq, r.Last)
	case l.Prev != v.prev:
		return errors.New("the line in front of this one was another one")
	}
	r.Lines++
	r.Last, r.LastHash, v.prev = l.Seq, hash, hash
	r.Unsigned++
	if len(r.Nodes) == 0 || r.Nodes[len(r.Nodes)-1] != l.Node {
		r.Nodes = append(r.Nodes, l.Node)
	}
	switch l.Event {
	case EventTorn:
		r.Torn = append(r.Torn, l.Seq)
	case EventTruncated:
		r.Truncated = append(r.Truncated, l.Seq)
	case EventCheckpoint:
		return v.checkpoint(l, Checkpoint{Seq: l.Seq, Hash: hash})
	}
	return nil
}

func (v *verifier) checkpoint(l *line, c Checkpoint) error {
	r := v.report
	if r.Key == nil {
		r.Key = l.Key
	}
	if !r.Key.Equal(ed25519.PublicKey(l.Key)) {
		return errors.New("the checkpoint is signed by another key")
	}
	r.Signed, r.Unsigned = c, 0
	v.found[c] = true
	return nil
}
