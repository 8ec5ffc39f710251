package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// racers is how many callers try to do what only one may do; teams is how many
// index entries they use between them.
const (
	racers = 64
	teams  = 8
)

// rounds is how often they try.
func rounds() int {
	if testing.Short() {
		return 5
	}
	return 40
}

// race lets all racers act at once and demands that one wins, and that the
// others get the error.
func race(t *testing.T, what string, lost error, act func(racer int) error) (winner int) {
	t.Helper()
	errs := make([]error, racers)
	start := make(chan struct{})
	var done sync.WaitGroup
	for i := range racers {
		done.Go(func() {
			<-start
			errs[i] = act(i)
		})
	}
	close(start)
	done.Wait()
	winner = -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Fatalf("%s: racers %d and %d both won", what, winner, i)
		case !errors.Is(err, lost):
			t.Fatalf("%s: racer %d got error %v, want %v", what, i, err, lost)
		}
	}
	if winner < 0 {
		t.Fatalf("%s: nobody won", what)
	}
	return winner
}

func testCreateRace(t *testing.T, f *fixture) {
	for round := range rounds() {
		raceCreate(t, fmt.Sprint("round ", round), f.in(time.Hour), f.Store)
	}
}

// raceCreate races for one id, the racers spread over the stores.
func raceCreate(t *testing.T, id string, expires time.Time, stores ...store.Store) {
	t.Helper()
	x := store.Index{Name: "n", Value: id}
	winner := race(t, "Create", store.ErrExists, func(racer int) error {
		return stores[racer%len(stores)].Create(t.Context(), &store.Record{
			Kind: "k", ID: id, Data: []byte(fmt.Sprint(racer)), Indexes: []store.Index{x}, Expires: expires,
		})
	})
	for _, s := range stores {
		page, err := s.List(t.Context(), "k", x, "", 2)
		if err != nil || len(page) != 1 || string(page[0].Data) != fmt.Sprint(winner) || page[0].Version != 1 {
			t.Fatalf("racer %d won, but the store lists %v (%v)", winner, page, err)
		}
	}
}

func testCreateRaceOverExpired(t *testing.T, f *fixture) {
	for range rounds() {
		raceCreate(t, "the same each round", f.in(time.Minute), f.Store)
		f.advance(2 * time.Minute)
	}
}

func testUpdateRace(t *testing.T, f *fixture) {
	r := f.create(t, &store.Record{Kind: "k", ID: "a"})
	for range rounds() {
		raceUpdate(t, r, f.Store)
	}
}

// raceUpdate races from one version of the record to the next.
func raceUpdate(t *testing.T, r *store.Record, stores ...store.Store) {
	t.Helper()
	from := *r
	winner := race(t, "Update", store.ErrConflict, func(racer int) error {
		mine := from
		mine.Data = []byte(fmt.Sprint(racer))
		mine.Indexes = []store.Index{{Name: "winner", Value: fmt.Sprint(racer % teams)}}
		return stores[racer%len(stores)].Update(t.Context(), &mine)
	})
	for _, s := range stores {
		got, err := s.Get(t.Context(), r.Kind, r.ID)
		if err != nil || got.Version != from.Version+1 || string(got.Data) != fmt.Sprint(winner) {
			t.Fatalf("racer %d won, but the store has %v (%v)", winner, got, err)
		}
		// No loser may have left an index entry behind.
		for team := range teams {
			page, err := s.List(t.Context(), r.Kind, store.Index{Name: "winner", Value: fmt.Sprint(team)}, "", 2)
			if err != nil {
				t.Fatal(err)
			}
			if (len(page) == 1) != (team == winner%teams) {
				t.Fatalf("racer %d won, and team %d has %d index entries", winner, team, len(page))
			}
		}
		*r = *got
	}
}

func testDeleteRace(t *testing.T, f *fixture) {
	for round := range rounds() {
		f.create(t, &store.Record{Kind: "k", ID: "a"})
		version := uint64(round % 2) // one version, or any
		race(t, "Delete", store.ErrNotFound, func(int) error {
			err := f.Delete(t.Context(), "k", "a", version)
			if errors.Is(err, store.ErrConflict) {
				// A node that shares the store may have seen the record and
				// then lost it.
				return store.ErrNotFound
			}
			return err
		})
		f.gone(t, "k", "a")
	}
}

// Many callers count one number up, each trying again after a conflict. No
// count may be lost, and none may count twice.
func testCounter(t *testing.T, f *fixture) {
	const callers, each = 16, 10
	f.create(t, &store.Record{Kind: "k", ID: "counter", Data: []byte{0}})
	var done sync.WaitGroup
	for range callers {
		done.Go(func() {
			for range each {
				err := countUp(t.Context(), f.Store)
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	r := f.get(t, "k", "counter")
	if r.Data[0] != callers*each || r.Version != callers*each+1 {
		t.Errorf("counted to %d at version %d, want %d", r.Data[0], r.Version, callers*each)
	}
}

func countUp(ctx context.Context, s store.Store) error {
	for {
		r, err := s.Get(ctx, "k", "counter")
		if err != nil {
			return err
		}
		r.Data[0]++
		err = s.Update(ctx, r)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// A record is anybody's as soon as it can be read: one caller moves it to
// another index while the call that creates it has yet to return. The race
// detector watches that the engine shares nothing between the two.
func testUpdateDuringCreate(t *testing.T, f *fixture) {
	for round := range 3 * rounds() {
		id := fmt.Sprint(round)
		updated := make(chan error, 1)
		go func() {
			for {
				r, err := f.Get(t.Context(), "k", id)
				if err == nil {
					r.Indexes = []store.Index{{Name: "state", Value: "sent"}}
					updated <- f.Update(t.Context(), r)
					return
				}
				if !errors.Is(err, store.ErrNotFound) {
					updated <- err
					return
				}
			}
		}()
		f.create(t, &store.Record{Kind: "k", ID: id, Indexes: []store.Index{{Name: "state", Value: "held"}}})
		err := <-updated
		if err != nil {
			t.Fatal(err)
		}
	}
}
