package store_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// BenchmarkStore measures one engine at a time with records as the gateway and
// the provider write them: 600 bytes, two index entries, an expiry.
func BenchmarkStore(b *testing.B) {
	engines := []struct {
		name string
		open func(b *testing.B) store.Store
	}{
		{"memory", func(*testing.B) store.Store { return store.NewMemory(store.Options{}) }},
		{"bolt", func(b *testing.B) store.Store {
			s, err := store.OpenBolt(filepath.Join(b.TempDir(), "ciba.db"), store.BoltOptions{})
			if err != nil {
				b.Fatal(err)
			}
			return s
		}},
	}
	for _, engine := range engines {
		benchmarkEngine(b, engine.name, engine.open)
	}
}

func benchmarkEngine(b *testing.B, name string, open func(b *testing.B) store.Store) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
			s := open(b)
			b.Run("Create", func(b *testing.B) { benchmarkCreate(b, s, callers) })
			b.Run("Get", func(b *testing.B) { benchmarkGet(b, s, callers) })
			b.Run("Update", func(b *testing.B) { benchmarkUpdate(b, s, callers) })
			err := s.Close()
			if err != nil {
				b.Error(err)
			}
		})
	}
}

var benchmarkData = bytes.Repeat([]byte("x"), 600)

// names makes ids unlike each other across the runs of one store.
var names atomic.Int64

func benchmarkRecord() *store.Record {
	// Ids in real use are hashes: they do not come in order.
	n := uint64(names.Add(1)) * 0x9e3779b97f4a7c15
	return &store.Record{
		Kind:    "gateway.transaction",
		ID:      fmt.Sprintf("%016x%016x", n, n),
		Data:    benchmarkData,
		Indexes: []store.Index{{Name: "caller", Value: fmt.Sprint(n % 1000)}, {Name: "state", Value: "held"}},
		Expires: time.Now().Add(time.Hour),
	}
}

// share runs b.N calls of do, spread over the callers.
func share(b *testing.B, callers int, do func(caller int) error) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var done sync.WaitGroup
	for caller := range callers {
		done.Go(func() {
			for left.Add(-1) >= 0 {
				err := do(caller)
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func benchmarkCreate(b *testing.B, s store.Store, callers int) {
	share(b, callers, func(int) error {
		return s.Create(b.Context(), benchmarkRecord())
	})
}

// each gives every caller a record of its own.
func each(b *testing.B, s store.Store, callers int) []*store.Record {
	records := make([]*store.Record, callers)
	for i := range records {
		records[i] = benchmarkRecord()
		err := s.Create(b.Context(), records[i])
		if err != nil {
			b.Fatal(err)
		}
	}
	return records
}

func benchmarkGet(b *testing.B, s store.Store, callers int) {
	records := each(b, s, callers)
	share(b, callers, func(caller int) error {
		_, err := s.Get(b.Context(), records[caller].Kind, records[caller].ID)
		return err
	})
}

// Each update moves the record from one state to the other, as transactions do.
func benchmarkUpdate(b *testing.B, s store.Store, callers int) {
	records := each(b, s, callers)
	share(b, callers, func(caller int) error {
		r := records[caller]
		r.Indexes[1].Value = [2]string{"held", "sent"}[r.Version%2]
		return s.Update(b.Context(), r)
	})
}
