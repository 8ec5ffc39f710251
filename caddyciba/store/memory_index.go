package store

import (
	"slices"
	"strings"
)

// chunkSize is how many records a chunk of an index holds before it is split.
const chunkSize = 512

// memoryIndex holds the records with one index entry, ordered by id, in chunks
// so that adding to an index of many records moves few of them. No chunk is
// empty. The zero value is an empty index.
type memoryIndex struct {
	chunks [][]*memoryRecord
}

// seek returns the place of the id, or where it belongs: chunk and offset. The
// offset may be the length of the chunk.
func (x *memoryIndex) seek(id string) (chunk, offset int, found bool) {
	// The id belongs into the last chunk that begins at or before it.
	chunk, found = slices.BinarySearchFunc(x.chunks, id, func(c []*memoryRecord, id string) int {
		return strings.Compare(c[0].key.id, id)
	})
	if found {
		return chunk, 0, true
	}
	chunk = max(chunk-1, 0)
	if chunk == len(x.chunks) {
		return chunk, 0, false
	}
	offset, found = slices.BinarySearchFunc(x.chunks[chunk], id, func(r *memoryRecord, id string) int {
		return strings.Compare(r.key.id, id)
	})
	return chunk, offset, found
}

func (x *memoryIndex) add(r *memoryRecord) {
	at, offset, found := x.seek(r.key.id)
	if found {
		x.chunks[at][offset] = r
		return
	}
	if at == len(x.chunks) {
		x.chunks = append(x.chunks, []*memoryRecord{r})
		return
	}
	chunk := slices.Insert(x.chunks[at], offset, r)
	if len(chunk) > chunkSize {
		half := len(chunk) / 2
		x.chunks = slices.Insert(x.chunks, at+1, slices.Clone(chunk[half:]))
		clear(chunk[half:])
		chunk = chunk[:half]
	}
	x.chunks[at] = chunk
}

// remove takes a record out and reports whether the index is empty then.
func (x *memoryIndex) remove(id string) (empty bool) {
	at, offset, found := x.seek(id)
	if found {
		x.chunks[at] = slices.Delete(x.chunks[at], offset, offset+1)
		if len(x.chunks[at]) == 0 {
			x.chunks = slices.Delete(x.chunks, at, at+1)
		}
	}
	return len(x.chunks) == 0
}

// after calls yield with each record behind the id until it returns false.
func (x *memoryIndex) after(id string, yield func(*memoryRecord) bool) {
	at, offset, found := x.seek(id)
	if found {
		offset++
	}
	for ; at < len(x.chunks); at++ {
		for _, r := range x.chunks[at][offset:] {
			if !yield(r) {
				return
			}
		}
		offset = 0
	}
}
