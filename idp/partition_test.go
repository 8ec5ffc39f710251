package idp

import (
	"errors"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/caddyciba/store/storetest"
)

// A partition is a store like any other.
func TestPartitionIsStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (store.Store, func(time.Duration)) {
		now := time.Now()
		whole := store.NewMemory(store.Options{Now: func() time.Time { return now }})
		return newPartition(whole, "https://id.example.com"), func(d time.Duration) { now = now.Add(d) }
	})
}

// Two issuers in one store have nothing in common, and two nodes with one
// issuer have everything in common.
func TestPartitionsAreApart(t *testing.T) {
	whole := store.NewMemory(store.Options{})
	one := newPartition(whole, "https://one.example.com")
	again := newPartition(whole, "https://one.example.com")
	two := newPartition(whole, "https://two.example.com")
	anna := store.Index{Name: "subject", Value: "anna"}
	r := &store.Record{Kind: "idp.requests", ID: "a", Data: []byte("data"), Indexes: []store.Index{anna}}
	changed, stop := two.WatchIndex("idp.requests", anna)
	defer stop()
	err := one.Create(t.Context(), r)
	if err != nil || r.Version != 1 || r.Kind != "idp.requests" {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = two.Get(t.Context(), r.Kind, r.ID)
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the other issuer's record: %v", err)
	}
	_, err = whole.Get(t.Context(), r.Kind, r.ID)
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the record without an issuer: %v", err)
	}
	list, err := two.List(t.Context(), r.Kind, anna, "", 10)
	if err != nil || len(list) != 0 {
		t.Errorf("the other issuer lists %d records, %v", len(list), err)
	}
	select {
	case <-changed:
		t.Error("the other issuer hears of the record")
	default:
	}
	err = two.Delete(t.Context(), r.Kind, r.ID, 0)
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the other issuer deletes: %v", err)
	}
	got, err := again.Get(t.Context(), r.Kind, r.ID)
	if err != nil || got.Kind != r.Kind || string(got.Data) != "data" {
		t.Errorf("the same issuer: %+v, %v", got, err)
	}
}
