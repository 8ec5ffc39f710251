package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

var (
	errNotALine  = errors.New("this is no entry")
	errHash      = errors.New("the hash is another one: the line was changed")
	errSignature = errors.New("the signature is not good")
	errLost      = errors.New("file was given up after an error")
	errBusy      = errors.New("another process writes this file")
)

// open opens the file where its last line ends, and writes down what it has found.
func (l *Log) open() error {
	previous, before, err := l.previous()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(l.cfg.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	err = lockFile(file)
	if err == nil {
		err = l.resume(file, previous, before)
	}
	if err != nil {
		if l.file == file {
			l.file = nil
		}
		_ = file.Close()
		return err
	}
	return nil
}

// resume goes on behind the last line of a file that was opened.
func (l *Log) resume(file *os.File, previous string, before Checkpoint) error {
	end, err := lastLine(file)
	if err != nil {
		return err
	}
	l.file, l.size = file, end.size
	switch {
	case end.last.Seq > 0:
		l.last = end.last
		previous = ""
	default:
		l.last = before
	}
	if len(end.torn) > 0 || end.unended {
		return l.markTorn(end, previous)
	}
	if end.last.Seq == 0 {
		err = syncDir(l.cfg.Path)
		if err != nil {
			return fmt.Errorf("syncing directory: %w", err)
		}
		if previous != "" {
			err = l.write(Entry{Event: EventContinued}, own{Previous: filepath.Base(previous)}, nil)
			if err != nil {
				return err
			}
		}
	}
	return l.begin()
}

// markTorn says what somebody has left who did not come to the end of a line. The line
// that says so also ends the remains, in one write with it.
func (l *Log) markTorn(end fileEnd, previous string) error {
	var lead []byte
	if !bytes.HasSuffix(end.torn, []byte("\n")) {
		lead = []byte("\n")
	}
	var ended []byte
	if !end.unended {
		ended = append(bytes.Clone(end.torn), lead...)
	}
	o := own{Length: len(ended), Remains: sum(ended)}
	if previous != "" {
		o.Previous = filepath.Base(previous)
	}
	err := l.writeBehind(lead, Entry{Event: EventTorn}, o, nil)
	if err != nil {
		return err
	}
	return l.begin()
}

// begin says that this process writes from here on, and whether lines are missing.
func (l *Log) begin() error {
	missing := l.cfg.Last
	if missing.Seq > l.last.Seq || missing.Seq == l.last.Seq && missing.Hash != l.last.Hash {
		err := l.write(Entry{Event: EventTruncated}, own{Missing: &missing}, nil)
		if err != nil {
			return err
		}
	}
	l.cfg.Last = Checkpoint{} // said once
	err := l.write(Entry{Event: EventOpened}, own{}, nil)
	if err != nil {
		return err
	}
	return l.checkpoint()
}

// previous finds the file that this one continues, if there is one: that with the
// highest number behind its name.
func (l *Log) previous() (string, Checkpoint, error) {
	names, err := os.ReadDir(filepath.Dir(l.cfg.Path))
	if err != nil {
		return "", Checkpoint{}, err
	}
	found, highest := "", uint64(0)
	for _, entry := range names {
		suffix, ok := strings.CutPrefix(entry.Name(), filepath.Base(l.cfg.Path)+".")
		seq, err := strconv.ParseUint(suffix, 10, 64)
		if ok && err == nil && seq > highest {
			found, highest = filepath.Join(filepath.Dir(l.cfg.Path), entry.Name()), seq
		}
	}
	if found == "" {
		return "", Checkpoint{}, nil
	}
	file, err := os.Open(found)
	if err != nil {
		return "", Checkpoint{}, err
	}
	defer func() { _ = file.Close() }()
	end, err := lastLine(file)
	if err != nil {
		return "", Checkpoint{}, fmt.Errorf("%s: %w", found, err)
	}
	if end.last.Seq != highest || len(end.torn) > 0 || end.unended {
		return "", Checkpoint{}, fmt.Errorf("%s does not end with line %d", found, highest)
	}
	return found, end.last, nil
}

// fileEnd is what a file ends with.
type fileEnd struct {
	size int64
	last Checkpoint // of the last whole line; zero if there is none
	torn []byte     // what stands behind it and is no line

	// unended says that the last line is whole but for its end.
	unended bool
}

// lastLine reads the end of a file. It has to be in order, but for a line that was not
// written to its end.
func lastLine(file *os.File) (fileEnd, error) {
	info, err := file.Stat()
	if err != nil {
		return fileEnd{}, err
	}
	if !info.Mode().IsRegular() {
		return fileEnd{}, fmt.Errorf("%s is not a regular file: %w", file.Name(), fs.ErrInvalid)
	}
	end := fileEnd{size: info.Size()}
	from := max(0, end.size-maxRemains)
	text, err := io.ReadAll(io.NewSectionReader(file, from, end.size-from))
	if err != nil {
		return fileEnd{}, err
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		// Only the end of the line may be missing.
		first := bytes.LastIndexByte(text, '\n') + 1
		l, hash, err := decode(append(bytes.Clone(text[first:]), '\n'))
		if err == nil {
			end.last, end.unended = Checkpoint{Seq: l.Seq, Hash: hash}, true
			return end, nil
		}
	}
	for rest := text; ; {
		// A line that ends where rest does, if rest ends with one.
		first := bytes.LastIndexByte(bytes.TrimSuffix(rest, []byte("\n")), '\n') + 1
		if len(rest) == 0 || first == 0 && from > 0 {
			break
		}
		l, hash, err := decode(rest[first:])
		if err == nil {
			end.last = Checkpoint{Seq: l.Seq, Hash: hash}
			end.torn = text[len(rest):]
			return end, nil
		}
		if !errors.Is(err, errNotALine) {
			return fileEnd{}, fmt.Errorf("last line: %w", err)
		}
		rest = rest[:first]
	}
	if from > 0 {
		return fileEnd{}, errNotALine
	}
	end.torn = text
	return end, nil
}

// maxRemains is how much is read of the end of a file: the last line, and what may
// stand behind it without being one.
const maxRemains = 4 * maxLine

// readLine returns a line with its end, or io.EOF behind the last one. A line that is
// too long, or the last one without an end, comes back as far as it goes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var text []byte
	for {
		part, err := r.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(text) > 0:
			return text, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return text, err
		case len(text) > 2*maxLine:
			return text, nil
		}
	}
}
