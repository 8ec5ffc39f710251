package stepup

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store"
)

var errDisk = errors.New("no space left on device")

// faultyStore fails chosen writes of transactions. A torn write is made and reported as failed,
// as it happens when a connection to a database breaks at the commit.
type faultyStore struct {
	store.Store
	fail func(write int, next State) (fail, torn bool)

	writes int
}

func (f *faultyStore) judge(r *store.Record) (fail, torn bool) {
	if r.Kind != recordKind {
		return false, false
	}
	t, err := decodeTransaction(r.Data)
	if err != nil {
		panic(err)
	}
	f.writes++
	return f.fail(f.writes, t.State)
}

func (f *faultyStore) Create(ctx context.Context, r *store.Record) error {
	fail, torn := f.judge(r)
	if fail {
		return errDisk
	}
	err := f.Store.Create(ctx, r)
	if torn && err == nil {
		return errDisk
	}
	return err
}

func (f *faultyStore) Update(ctx context.Context, r *store.Record) error {
	fail, torn := f.judge(r)
	if fail {
		return errDisk
	}
	err := f.Store.Update(ctx, r)
	if torn && err == nil {
		return errDisk
	}
	return err
}

// INV-6, INV-17: a store that fails at any write never lets the act happen that
// the write was to permit, and what is written later tells the truth.
func TestStoreFailsAtEachWrite(t *testing.T) {
	for _, torn := range []bool{false, true} {
		for _, at := range []State{StateHeld, StateRequested, StateApproved, StateSending} {
			name := string(at)
			if torn {
				name += " torn"
			}
			t.Run(name, func(t *testing.T) {
				upstream := &counting{}
				faulty := &faultyStore{Store: store.NewMemory(store.Options{})}
				failed := false
				faulty.fail = func(_ int, next State) (bool, bool) {
					if next == at && !failed {
						failed = true
						return !torn, torn
					}
					return false, false
				}
				b := newBench(t, upstream.next, func(c *Config) { c.Store = faulty })
				answer := b.do("POST", "/p", "body", nil)
				f := b.lastRefusal()
				if answer.Code != http.StatusServiceUnavailable || f.Problem != ProblemUnavailable || f.Forwarded != ForwardedNo || f.RetryAfter <= 0 {
					t.Errorf("answer is %d %+v", answer.Code, f)
				}
				if !errors.Is(f, errDisk) {
					t.Errorf("cause is %v", f.Err)
				}
				if upstream.count() != 0 {
					t.Fatal("the upstream has seen the request")
				}
				if at == StateHeld || at == StateRequested {
					if b.client.asked() != 0 {
						t.Error("somebody was asked")
					}
				} else if b.client.revocations() != 1 {
					t.Error("the token was not given back")
				}
				if at == StateHeld {
					return // nobody knows whether there is a record
				}
				if tx := b.only(t); tx.State != StateFailed || tx.Problem != ProblemUnavailable {
					t.Errorf("transaction is %+v", tx)
				}
			})
		}
	}
}

// A store that stays away leaves the transaction to recovery, and the caller is
// told the truth all the same.
func TestStoreStaysAway(t *testing.T) {
	for _, at := range []State{StateRequested, StateApproved, StateSending, StateAnswered} {
		t.Run(string(at), func(t *testing.T) {
			upstream := &counting{}
			away := false
			faulty := &faultyStore{Store: store.NewMemory(store.Options{})}
			faulty.fail = func(_ int, next State) (bool, bool) {
				away = away || next == at
				return away, false
			}
			b := newBench(t, upstream.next, func(c *Config) { c.Store = faulty })
			answer := b.do("POST", "/p", "body", nil)
			if at == StateAnswered {
				// The upstream has answered; that nobody could write it down is
				// no reason to keep the answer from the caller.
				if answer.Code != http.StatusCreated || upstream.count() != 1 || b.only(t).State != StateSending {
					t.Errorf("answer is %d, transaction %+v", answer.Code, b.only(t))
				}
			} else if answer.Code != http.StatusServiceUnavailable || upstream.count() != 0 || b.lastRefusal().Forwarded != ForwardedNo {
				t.Errorf("answer is %d", answer.Code)
			}

			away = false
			faulty.fail = func(int, State) (bool, bool) { return false, false }
			next, err := NewJournal(JournalConfig{Store: faulty, Instance: "next"})
			if err != nil {
				t.Fatal(err)
			}
			found, err := next.Recover(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			want := StateFailed
			if at == StateAnswered {
				want = StateInDoubt
			}
			if tx := b.only(t); tx.State != want || len(found.Failed)+len(found.InDoubt) != 1 {
				t.Errorf("transaction is %+v, found %+v", tx, found)
			}
		})
	}
}

// An operator, or another node, may end a transaction at any time before it is
// sent. INV-9: what is ended stays ended.
func TestOvertaken(t *testing.T) {
	for _, at := range []State{StateRequested, StateApproved, StateSending} {
		t.Run(string(at), func(t *testing.T) {
			upstream := &counting{}
			memory := store.NewMemory(store.Options{})
			faulty := &faultyStore{Store: memory}
			var b *bench
			done := false
			faulty.fail = func(_ int, next State) (bool, bool) {
				if next != at || done {
					return false, false
				}
				done = true
				other, err := NewJournal(JournalConfig{Store: memory})
				if err != nil {
					t.Fatal(err)
				}
				e, err := other.read(t.Context(), b.only(t).ID)
				if err != nil {
					t.Fatal(err)
				}
				err = other.advance(t.Context(), e, StateCancelled, nil)
				if err != nil {
					t.Fatal(err)
				}
				return false, false
			}
			b = newBench(t, upstream.next, func(c *Config) { c.Store = faulty })
			answer := b.do("POST", "/p", "body", nil)
			f := b.lastRefusal()
			if answer.Code != http.StatusForbidden || f.Problem != ProblemCancelled || f.State != StateCancelled || upstream.count() != 0 {
				t.Errorf("answer is %d %+v, sent %d", answer.Code, f, upstream.count())
			}
			if tx := b.only(t); tx.State != StateCancelled {
				t.Errorf("transaction is %+v", tx)
			}
		})
	}
}

// Another node that has taken the transaction may have sent it: then the caller
// is not told that nothing was.
func TestOvertakenBySender(t *testing.T) {
	upstream := &counting{}
	memory := store.NewMemory(store.Options{})
	faulty := &faultyStore{Store: memory}
	var b *bench
	done := false
	faulty.fail = func(_ int, next State) (bool, bool) {
		if next != StateSending || done {
			return false, false
		}
		done = true
		other, err := NewJournal(JournalConfig{Store: memory})
		if err != nil {
			t.Fatal(err)
		}
		e, err := other.read(t.Context(), b.only(t).ID)
		if err != nil {
			t.Fatal(err)
		}
		err = other.advance(t.Context(), e, StateSending, func(tx *Transaction) { tx.Claim = "other" })
		if err != nil {
			t.Fatal(err)
		}
		return false, false
	}
	b = newBench(t, upstream.next, func(c *Config) { c.Store = faulty })
	b.do("POST", "/p", "body", nil)
	if f := b.lastRefusal(); f.Forwarded != ForwardedUnknown || f.State != StateSending || upstream.count() != 0 {
		t.Errorf("refusal is %+v, sent %d", f, upstream.count())
	}
	if tx := b.only(t); tx.State != StateSending || tx.Claim != "other" {
		t.Errorf("transaction is %+v", tx)
	}
}
