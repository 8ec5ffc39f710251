package store

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"

	"go.etcd.io/bbolt"
)

const (
	// leastFiltered is how many names a filter has room for at least. It then has
	// 256 KiB.
	leastFiltered = 1 << 17

	// With these, the filter says of fewer than one in a hundred of the names that
	// are not there that they may be. A name has all its bits in one block, which
	// is what a processor reads from memory at once.
	filterBitsPerName = 16
	filterBlock       = 512 // bits
	filterProbes      = 4
)

// boltFilter knows of most names that the database does not have them: it is a
// Bloom filter of the keys of all records, and of the index entries without their
// ids. Most of what is looked up before something is written is not there, and it
// would take a walk through the tree to learn that. A name that has left the
// database stays in the filter until the next one is made.
//
// Names are added by one goroutine, before the database has them. They may be
// looked up at any time. A nil filter knows nothing, and says that all names may be
// there.
type boltFilter struct {
	seed  maphash.Seed
	words []atomic.Uint64
	room  int // for so many names more
}

// newBoltFilter returns a filter with room for so many names and as many more.
func newBoltFilter(names int) *boltFilter {
	room := max(leastFiltered, 2*names)
	blocks := room*filterBitsPerName/filterBlock + 1
	return &boltFilter{seed: maphash.MakeSeed(), words: make([]atomic.Uint64, blocks*filterBlock/64), room: room}
}

// block returns the block of a name with the hash, whose last digits tell its bits.
func (f *boltFilter) block(hash uint64) []atomic.Uint64 {
	const words = filterBlock / 64
	at := (hash >> 32) % uint64(len(f.words)/words) * words
	return f.words[at : at+words]
}

func (f *boltFilter) add(name []byte) {
	if f == nil {
		return
	}
	bits := maphash.Bytes(f.seed, name)
	block := f.block(bits)
	for range filterProbes {
		block[bits/64%uint64(len(block))].Or(1 << (bits % 64))
		bits = bits>>9 | bits<<55
	}
	f.room--
}

// mayHave reports whether the database may have the name. If not, it does not.
func (f *boltFilter) mayHave(name []byte) bool {
	return f == nil || f.has(maphash.Bytes(f.seed, name))
}

// mayHaveName is mayHave for a name in a string.
func (f *boltFilter) mayHaveName(name string) bool {
	return f == nil || f.has(maphash.String(f.seed, name))
}

func (f *boltFilter) has(bits uint64) bool {
	block := f.block(bits)
	for range filterProbes {
		if block[bits/64%uint64(len(block))].Load()&(1<<(bits%64)) == 0 {
			return false
		}
		bits = bits>>9 | bits<<55
	}
	return true
}

// addChange adds the names that a change brings into the database.
func (f *boltFilter) addChange(c *boltChange) {
	if c.value == nil {
		return
	}
	f.add([]byte(c.name))
	for _, x := range c.state.indexes {
		f.add(appendIndexKey(nil, c.kind, x, ""))
	}
}

// readFilter makes a filter of what the database has, at a rate of some million
// names a second. Of a file that can not be read there is none: whoever looks
// something up there will learn why.
func readFilter(db *bbolt.DB) *boltFilter {
	var f *boltFilter
	err := guarded(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			records, index := tx.Bucket(recordBucket), tx.Bucket(indexBucket)
			f = newBoltFilter(records.Stats().KeyN + index.Stats().KeyN)
			cursor := records.Cursor()
			for k, _ := cursor.First(); k != nil; k, _ = cursor.Next() {
				f.add(k)
			}
			cursor = index.Cursor()
			var last []byte
			for k, _ := cursor.First(); k != nil; k, _ = cursor.Next() {
				if last != nil && bytes.HasPrefix(k, last) {
					continue
				}
				last = indexPrefix(k)
				f.add(last)
			}
			return nil
		})
	})
	if err != nil {
		return nil
	}
	return f
}

// indexPrefix returns the key of an index entry without the id.
func indexPrefix(key []byte) []byte {
	end := 0
	for range 3 {
		end += bytes.IndexByte(key[end:], 0) + 1
	}
	return key[:end]
}
