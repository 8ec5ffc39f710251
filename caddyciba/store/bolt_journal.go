package store

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// The journal is a sequence of frames, each at the beginning of a page so that
// none can be hurt while another is being written: a mark, the CRC-32C of all that
// follows, the epoch, the offset of the frame, and the length of its content, then
// the changes, each as key and record with their lengths as uvarints. A record
// without length is gone.
//
// The database tells the epoch of the journal that comes after it. When the changes
// have moved into the database, the next epoch begins at the beginning of the file,
// over the frames of the last one.
const (
	journalMark    = "CJ1\n"
	journalPage    = 4096
	journalHeader  = len(journalMark) + crc32.Size + epochSize + 8 + 4
	journalGrowth  = 512 << 10
	journalMost    = foldBytes // that is kept between epochs
	journalMostBuf = 1 << 20
	epochSize      = 16
)

// epoch names the frames of a journal that count.
type epoch [epochSize]byte

func newEpoch() epoch {
	var e epoch
	_, _ = rand.Read(e[:]) // never fails
	return e
}

// journal takes what is written first, in order, with one sync for all that is
// written together. It belongs to the writer.
type journal struct {
	file   *os.File
	path   string
	info   os.FileInfo
	epoch  epoch
	end    int64 // of the last frame
	size   int64 // of the file
	buf    []byte
	failed bool // it is not known what is on the disk
}

func openJournal(path string, e epoch) (*journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening journal: %w", err)
	}
	info, err := file.Stat()
	if err == nil {
		err = syncDirs(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening journal: %w", err), file.Close())
	}
	return &journal{file: file, path: path, info: info, epoch: e, size: info.Size()}, nil
}

func (j *journal) close() error { return j.file.Close() }

// fresh reports whether nothing was written in this epoch.
func (j *journal) fresh() bool { return j.end == 0 && !j.failed }

// append makes changes durable.
func (j *journal) append(changes []*boltChange) error {
	j.buf = appendFrame(j.buf[:0], j.epoch, j.end, changes)
	end := j.end + int64(len(j.buf))
	if end > j.size {
		// To grow costs the file system a sync of its own, so it is done in
		// large steps.
		j.buf = append(j.buf, make([]byte, (end/journalGrowth+1)*journalGrowth-end)...)
	}
	_, err := j.file.WriteAt(j.buf, j.end)
	if err == nil {
		j.size = max(j.size, j.end+int64(len(j.buf)))
		err = datasync(j.file)
	}
	if cap(j.buf) > journalMostBuf {
		j.buf = nil
	}
	if err != nil {
		j.failed = true
		return fmt.Errorf("writing to the journal: %w", err)
	}
	j.end = end
	return nil
}

// restart begins an epoch. What is in the file does not count any more.
func (j *journal) restart(e epoch) {
	j.epoch, j.end, j.failed = e, 0, false
	if j.size > journalMost && j.file.Truncate(journalMost) == nil {
		j.size = journalMost
	}
}

// read returns the changes of this epoch in their order, and prepares to go on
// behind them. A frame that was cut short by a crash was not reported as written
// to anybody; it and what is behind it counts as not written. If there is a whole
// frame behind it, it was not a crash.
func (j *journal) read() ([]*boltChange, error) {
	var all []*boltChange
	for {
		content, err := j.frame(j.end)
		if err != nil {
			return nil, err
		}
		if content == nil {
			break
		}
		changes, err := readChanges(content)
		if err != nil {
			return nil, err
		}
		all = append(all, changes...)
		j.end = pageEnd(j.end + int64(journalHeader+len(content)))
	}
	for at := j.end + journalPage; at < j.size; at += journalPage {
		content, err := j.frame(at)
		if err != nil {
			return nil, err
		}
		if content != nil {
			return nil, fmt.Errorf("%w: its journal has lost writes", errDamaged)
		}
	}
	return all, nil
}

// frame returns the content of the frame at an offset, or nil if there is no frame
// of this epoch.
func (j *journal) frame(at int64) ([]byte, error) {
	if at+int64(journalHeader) > j.size {
		return nil, nil
	}
	header := make([]byte, journalHeader)
	_, err := j.file.ReadAt(header, at)
	if err != nil {
		return nil, fmt.Errorf("reading journal: %w", err)
	}
	head := appendFrame(nil, j.epoch, at, nil)[:journalHeader]
	const sum, length = len(journalMark), journalHeader - 4
	size := int64(binary.BigEndian.Uint32(header[length:]))
	if !bytes.Equal(header[:sum], head[:sum]) || !bytes.Equal(header[sum+crc32.Size:length], head[sum+crc32.Size:length]) ||
		at+int64(journalHeader)+size > j.size {
		return nil, nil
	}
	content := make([]byte, size)
	_, err = j.file.ReadAt(content, at+int64(journalHeader))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading journal: %w", err)
	}
	if binary.BigEndian.Uint32(header[sum:]) != checksum(header[sum+crc32.Size:], content) {
		return nil, nil
	}
	return content, nil
}

func pageEnd(offset int64) int64 {
	return (offset + journalPage - 1) / journalPage * journalPage
}

// appendFrame appends a frame and fills the page up.
func appendFrame(b []byte, e epoch, at int64, changes []*boltChange) []byte {
	start := len(b)
	b = append(b, journalMark...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, e[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = append(b, 0, 0, 0, 0)
	for _, c := range changes {
		b = binary.AppendUvarint(b, uint64(len(c.name)))
		b = append(b, c.name...)
		b = binary.AppendUvarint(b, uint64(len(c.value)))
		b = append(b, c.value...)
	}
	frame := b[start:]
	binary.BigEndian.PutUint32(frame[journalHeader-4:], uint32(len(frame)-journalHeader))
	sum := len(journalMark)
	binary.BigEndian.PutUint32(frame[sum:], checksum(frame[sum+crc32.Size:journalHeader], frame[journalHeader:]))
	return append(b, make([]byte, pageEnd(int64(len(frame)))-int64(len(frame)))...)
}

// readChanges reads the content of a frame.
func readChanges(content []byte) ([]*boltChange, error) {
	var changes []*boltChange
	d := decoder{rest: content}
	for len(d.rest) > 0 && !d.failed {
		key, value := []byte(d.text()), []byte(d.text())
		if d.failed || !bytes.ContainsRune(key, 0) {
			return nil, fmt.Errorf("%w: its journal can not be read", errDamaged)
		}
		c := newBoltChange(splitKey(key))
		if len(value) > 0 {
			after, err := decodeRecord(key, value)
			if err != nil {
				return nil, err
			}
			c.state, c.value = *after, value
		}
		changes = append(changes, c)
	}
	return changes, nil
}
