package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The chunked index agrees with a sorted slice through many random changes.
func TestMemoryIndexKeepsOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var index memoryIndex
	var model []string
	for step := range 30_000 {
		id := fmt.Sprint(random.IntN(5000))
		at, found := slices.BinarySearch(model, id)
		// Growing in the first half and shrinking in the second one passes
		// through splits and through chunks that become empty.
		if random.IntN(30_000) > step {
			index.add(&memoryRecord{key: recordKey{"k", id}})
			if !found {
				model = slices.Insert(model, at, id)
			}
		} else {
			empty := index.remove(id)
			if found {
				model = slices.Delete(model, at, at+1)
			}
			if empty != (len(model) == 0) {
				t.Fatalf("step %d: empty = %v with %d ids", step, empty, len(model))
			}
		}
		if step%500 != 0 {
			continue
		}
		after := fmt.Sprint(random.IntN(5000))
		var got []string
		index.after(after, func(r *memoryRecord) bool {
			got = append(got, r.key.id)
			return true
		})
		from, found := slices.BinarySearch(model, after)
		if found {
			from++
		}
		if !slices.Equal(got, model[from:]) {
			t.Fatalf("step %d: after %q the index has %d ids, want %d", step, after, len(got), len(model)-from)
		}
	}
}
