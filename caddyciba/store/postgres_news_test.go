package store

import (
	"fmt"
	"strings"
	"testing"
)

func told(w <-chan struct{}) bool {
	select {
	case <-w:
		return true
	default:
		return false
	}
}

// What one node packs into payloads, another one unpacks, and its watchers are
// woken; payloads stay within what the server takes.
func TestNewsArrive(t *testing.T) {
	sender := newPostgresNews()
	receiver := &Postgres{news: newPostgresNews()}
	long := strings.Repeat("\xff", MaxIndex)
	var watched []<-chan struct{}
	for i := range 50 {
		id := fmt.Sprint(i, strings.Repeat("i", MaxID-2))
		sender.add("k", id, []Index{{"before", long}, {"empty", ""}}, []Index{{"after", id}})
		for _, key := range []watchKey{recordWatch("k", id), indexWatch("k", Index{"before", long}), indexWatch("k", Index{"empty", ""}), indexWatch("k", Index{"after", id})} {
			changes, stop := receiver.watches.add(key)
			defer stop()
			watched = append(watched, changes)
		}
	}
	other, stop := receiver.Watch("k", "other")
	defer stop()
	if !told(sender.wake) {
		t.Error("nothing wakes the sender")
	}
	payloads := sender.take()
	if len(payloads) < 5 {
		t.Errorf("only %d payloads", len(payloads))
	}
	for _, payload := range payloads {
		if len(payload) > maxNewsPayload {
			t.Errorf("payload of %d bytes", len(payload))
		}
		receiver.heard(payload)
	}
	for i, changes := range watched {
		if !told(changes) {
			t.Errorf("watcher %d was not woken", i)
		}
	}
	if told(other) {
		t.Error("the watcher of another record was woken")
	}
	if again := sender.take(); again != nil {
		t.Errorf("news are told twice: %q", again)
	}
}

// A node that has been told of these changes already does not tell itself, and
// garbage wakes nobody.
func TestNewsNotForUs(t *testing.T) {
	p := &Postgres{news: newPostgresNews()}
	changes, stop := p.Watch("k", "a")
	defer stop()
	word := encodeWatch(recordWatch("k", "a"))
	for _, payload := range []string{
		p.news.node + " " + word, p.news.node + " *", "", " ", "other", "other !", "other " + word[1:],
		"other a\x00b", "other " + word + "=", "other *x", word,
	} {
		p.heard(payload)
		if told(changes) {
			t.Errorf("%q woke the watcher", payload)
		}
	}
	p.heard("other garbage " + word)
	if !told(changes) {
		t.Error("a good word after a bad one was not heard")
	}
}

// News that cannot be told are not kept without limit: in the end everybody is
// told to look.
func TestNewsOverflow(t *testing.T) {
	sender := newPostgresNews()
	receiver := &Postgres{news: newPostgresNews()}
	changes, stop := receiver.Watch("k", "a")
	defer stop()
	check := func(what string) {
		t.Helper()
		payloads := sender.take()
		if len(payloads) != 1 || len(sender.pending) != 0 {
			t.Fatalf("%s: %d payloads, %d pending", what, len(payloads), len(sender.pending))
		}
		receiver.heard(payloads[0])
		if !told(changes) {
			t.Errorf("%s: the watcher was not woken", what)
		}
	}
	for i := range maxNewsPending + 10 {
		sender.add("k", fmt.Sprint(i), nil, nil)
	}
	check("overflow")
	sender.add("k", "b", nil, nil)
	sender.take()
	sender.lost()
	sender.add("k", "c", nil, nil)
	check("lost")
	if sender.take() != nil {
		t.Error("the alarm does not end")
	}
}
