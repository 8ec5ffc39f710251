package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
)

// The database has four buckets:
//
//	meta     "format" → "2"; "epoch" → that of the journal which comes after it
//	records  kind NUL id → record
//	index    kind NUL name NUL value NUL id → nothing
//	expiry   expiry in ms, 8 bytes big endian, kind NUL id → nothing
//
// A record is its format (one byte), version, expiry in milliseconds, number
// of index entries, each as name and value, all numbers and lengths as
// uvarints, then the data up to the last four bytes, which are the CRC-32C of
// the key and of all before them. Bbolt itself has no checksums but for its
// first two pages.
var (
	metaBucket   = []byte("meta")
	recordBucket = []byte("records")
	indexBucket  = []byte("index")
	expiryBucket = []byte("expiry")

	formatKey   = []byte("format")
	formatValue = []byte("2")
	epochKey    = []byte("epoch")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

const (
	recordFormat   = 1
	maxKey         = MaxKind + 1 + MaxID
	maxIndexPrefix = MaxKind + 1 + MaxKind + 1 + MaxIndex + 1
	expiryPrefix   = 8
)

func appendKey(b []byte, kind, id string) []byte {
	b = append(b, kind...)
	b = append(b, 0)
	return append(b, id...)
}

func splitKey(key []byte) (kind, id string) {
	kind, id, _ = strings.Cut(string(key), "\x00")
	return kind, id
}

func appendIndexKey(b []byte, kind string, x Index, id string) []byte {
	b = append(b, kind...)
	b = append(b, 0)
	b = append(b, x.Name...)
	b = append(b, 0)
	b = append(b, x.Value...)
	b = append(b, 0)
	return append(b, id...)
}

func appendExpiryKey(b []byte, expires int64, key []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(expires))
	return append(b, key...)
}

// stored is a record as it lies in the file.
type stored struct {
	version uint64
	expires int64
	indexes []Index
	data    []byte // in the file's memory map: valid during the transaction
}

func (s *stored) record(kind, id string) *Record {
	return &Record{
		Kind:    kind,
		ID:      id,
		Version: s.version,
		Data:    cloneData(s.data),
		Indexes: s.indexes,
		Expires: fromMillis(s.expires),
	}
}

func encodeRecord(key string, s *stored) []byte {
	// The key stands in front for as long as the checksum is made.
	size := len(key) + 1 + 2*binary.MaxVarintLen64 + binary.MaxVarintLen16 + len(s.data) + crc32.Size
	for _, x := range s.indexes {
		size += 2*binary.MaxVarintLen16 + len(x.Name) + len(x.Value)
	}
	b := append(make([]byte, 0, size), key...)
	b = append(b, recordFormat)
	b = binary.AppendUvarint(b, s.version)
	b = binary.AppendUvarint(b, uint64(s.expires))
	b = binary.AppendUvarint(b, uint64(len(s.indexes)))
	for _, x := range s.indexes {
		b = binary.AppendUvarint(b, uint64(len(x.Name)))
		b = append(b, x.Name...)
		b = binary.AppendUvarint(b, uint64(len(x.Value)))
		b = append(b, x.Value...)
	}
	b = append(b, s.data...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[len(key):]
}

func checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}

// decodeRecord reads the record that lies under key; ErrNotFound if none does.
// Nothing that a file may contain makes it panic or take much memory.
func decodeRecord(key, value []byte) (*stored, error) {
	if value == nil {
		return nil, ErrNotFound
	}
	if len(value) < 1+crc32.Size {
		return nil, damagedRecord(key, "it is cut short")
	}
	body, sum := value[:len(value)-crc32.Size], value[len(value)-crc32.Size:]
	if binary.BigEndian.Uint32(sum) != checksum(key, body) {
		return nil, damagedRecord(key, "its checksum is wrong")
	}
	if body[0] != recordFormat {
		return nil, damagedRecord(key, "its format is unknown")
	}
	d := decoder{rest: body[1:]}
	s := &stored{version: d.number(), expires: int64(d.number())}
	count := d.number()
	if count > MaxIndexes || s.expires < 0 {
		d.failed = true
	}
	if count > 0 && !d.failed {
		s.indexes = make([]Index, count)
	}
	for i := range s.indexes {
		s.indexes[i] = Index{Name: d.text(), Value: d.text()}
	}
	if d.failed {
		return nil, damagedRecord(key, "its fields do not add up")
	}
	s.data = d.rest
	return s, nil
}

// damagedRecord names the kind only; an id may be nobody's business.
func damagedRecord(key []byte, how string) error {
	kind, _ := splitKey(key)
	return fmt.Errorf("%w: a record of kind %q cannot be read: %s", errDamaged, kind, how)
}

// decoder takes fields off the front of a record. After a failure it returns
// zero values.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || d.failed {
		d.failed = true
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) text() string {
	n := d.number()
	if n > uint64(len(d.rest)) || d.failed {
		d.failed = true
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

// missing returns the entries of a that b lacks.
func missing(a, b []Index) []Index {
	var out []Index
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}
