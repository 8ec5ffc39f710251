package stepup

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// An answer may stream for longer than any deadline. Who is at it is asked.
func TestRecoverSparesWhoIsAtWork(t *testing.T) {
	c := newClock()
	working := true
	journal, err := NewJournal(JournalConfig{
		Store: store.NewMemory(store.Options{Now: c.Now}), Instance: "own", Now: c.Now,
		Alive: func(string) bool { return working },
	})
	if err != nil {
		t.Fatal(err)
	}
	at(t, journal, StateSending)
	c.advance(30 * time.Minute)
	found, err := journal.Recover(t.Context(), true)
	if err != nil || len(found.InDoubt) != 0 {
		t.Errorf("found %+v while somebody is at work, error %v", found, err)
	}
	working = false
	found, err = journal.Recover(t.Context(), true)
	if err != nil || len(found.InDoubt) != 1 {
		t.Errorf("found %+v when nobody is any more, error %v", found, err)
	}
}

// A gate knows which transactions it serves, and only while it does.
func TestGateServes(t *testing.T) {
	b := newBench(t, nil)
	served := make(chan bool, 1)
	b.next = func(w http.ResponseWriter, r *http.Request) error {
		served <- b.gate.Serves(b.only(t).ID)
		return answering(http.StatusCreated, "")(w, r)
	}
	b.do("POST", "/p", "body", nil)
	if !<-served {
		t.Error("the gate does not know what it sends")
	}
	if b.gate.Serves(b.only(t).ID) {
		t.Error("the gate still serves what has ended")
	}
}
