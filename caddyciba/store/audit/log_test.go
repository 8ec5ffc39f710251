package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testKey is made of a seed that everybody may know.
var testKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func testConfig(t *testing.T) Config {
	t.Helper()
	return Config{Path: filepath.Join(t.TempDir(), "audit.log"), Node: "node-1", Key: testKey}
}

func open(t *testing.T, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func write(t *testing.T, l *Log, events ...string) {
	t.Helper()
	for _, event := range events {
		err := l.Append(Entry{Event: event, Request: "r-1", Customer: "alice", Message: `Pay ,"hash":"x" <&>`}, false)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func verify(t *testing.T, files ...string) *Report {
	t.Helper()
	r, err := Verify(Expect{Key: testKey.Public().(ed25519.PublicKey)}, files...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// events are those of a file, as any program with a JSON parser reads them.
func events(t *testing.T, path string) []string {
	t.Helper()
	var list []string
	for text := range bytes.Lines(read(t, path)) {
		var l struct{ Event string }
		err := json.Unmarshal(text, &l)
		if err != nil {
			list = append(list, "?")
			continue
		}
		list = append(list, l.Event)
	}
	return list
}

func wantEvents(t *testing.T, path string, want ...string) {
	t.Helper()
	if got := events(t, path); !slices.Equal(got, want) {
		t.Errorf("the log has %q, want %q", got, want)
	}
}

func TestLog(t *testing.T) {
	cfg := testConfig(t)
	l := open(t, cfg)
	write(t, l, "requested", "approved")
	err := l.Close()
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	write(t, again, "sent")
	wantEvents(t, cfg.Path, EventOpened, EventCheckpoint, "requested", "approved", EventClosed, EventCheckpoint,
		EventOpened, EventCheckpoint, "sent")
	r := verify(t, cfg.Path)
	if r.Lines != 9 || r.First != 1 || r.Last != 9 || r.Signed.Seq != 8 || r.Unsigned != 1 || len(r.Torn) != 0 ||
		!slices.Equal(r.Nodes, []string{"node-1"}) || again.Last() != (Checkpoint{r.Last, r.LastHash}) {
		t.Errorf("report %+v", r)
	}
	info, err := os.Stat(cfg.Path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	err = l.Append(Entry{Event: "late"}, false)
	if !errors.Is(err, ErrClosed) {
		t.Errorf("error is %v", err)
	}
	_, err = Open(cfg)
	if !errors.Is(err, errBusy) {
		t.Errorf("a file that is being written was opened: %v", err)
	}
}

// Each single changed byte, each missing, doubled or exchanged line, and each cut
// within the log is found.
func TestEveryChangeIsFound(t *testing.T) {
	cfg := testConfig(t)
	l := open(t, cfg)
	write(t, l, "approved", "sent")
	err := l.Close()
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, cfg.Path)
	end := l.Last()
	check := func(what string, at int, changed []byte) {
		t.Helper()
		v := newVerifier(Expect{Key: testKey.Public().(ed25519.PublicKey), Checkpoints: []Checkpoint{end}})
		err := v.read("forged", bytes.NewReader(changed))
		if err == nil {
			err = v.missed()
		}
		var fault *FaultError
		if !errors.As(err, &fault) || fault.File != "forged" {
			t.Errorf("%s at %d was not found: %v", what, at, err)
		}
	}
	for i := range text {
		for _, flip := range []byte{1, text[i] ^ '\n'} {
			if flip == 0 {
				continue
			}
			changed := bytes.Clone(text)
			changed[i] ^= flip
			check("a changed byte", i, changed)
		}
		if i%4 == 0 {
			check("a cut", i, text[:i])
			check("a missing byte", i, slices.Delete(bytes.Clone(text), i, i+1))
		}
	}
	lines := slices.Collect(bytes.Lines(text))
	for i := range lines {
		check("a missing line", i, bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil))
		check("a line twice", i, bytes.Join(slices.Insert(slices.Clone(lines), i, lines[i]), nil))
		if i > 0 {
			swapped := slices.Clone(lines)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			check("two lines exchanged", i, bytes.Join(swapped, nil))
		}
	}
	check("something behind the end", 0, append(bytes.Clone(text), "x\n"...))
	verify(t, cfg.Path)
}

// Whoever makes the whole chain anew has another key, and has not the checkpoints
// that were told elsewhere.
func TestForgedChain(t *testing.T) {
	cfg := testConfig(t)
	l := open(t, cfg)
	write(t, l, "approved")
	known := l.Last()
	other := testConfig(t)
	other.Key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
	f := open(t, other)
	write(t, f, "denied")
	_, err := Verify(Expect{Key: testKey.Public().(ed25519.PublicKey)}, other.Path)
	if err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("error is %v", err)
	}
	_, err = Verify(Expect{Checkpoints: []Checkpoint{known}}, other.Path)
	if err == nil || !strings.Contains(err.Error(), "does not have the checkpoint") {
		t.Errorf("error is %v", err)
	}
	_, err = Verify(Expect{}, other.Path)
	if err != nil {
		t.Errorf("without knowing anything there is nothing to find: %v", err)
	}
}

// Entries are signed after a minute, or a thousand of them, and at the end.
func TestCheckpoints(t *testing.T) {
	cfg := testConfig(t)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var list []Checkpoint
		cfg.Remember = func(c Checkpoint) {
			mu.Lock()
			defer mu.Unlock()
			list = append(list, c)
		}
		signed := func() []Checkpoint {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(list)
		}
		l := open(t, cfg)
		write(t, l, "a", "b")
		time.Sleep(checkpointAfter - time.Second)
		synctest.Wait()
		if told := signed(); len(told) != 1 {
			t.Fatalf("signed %d times", len(told))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if told := signed(); len(told) != 2 || told[1] != l.Last() {
			t.Fatalf("signed %v, last is %v", told, l.Last())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(signed()) != 2 {
			t.Error("signed what was signed")
		}
		for range checkpointEvery {
			err := l.Append(Entry{Event: "c"}, false)
			if err != nil {
				t.Fatal(err)
			}
		}
		if told := signed(); len(told) != 3 {
			t.Errorf("signed %d times", len(told))
		}
		err := l.Close()
		told := signed()
		if err != nil || len(told) != 4 {
			t.Errorf("signed %d times, %v", len(told), err)
		}
		for _, c := range told {
			parsed, err := ParseCheckpoint(c.String())
			if err != nil || parsed != c {
				t.Errorf("%s is read as %s, %v", c, parsed, err)
			}
		}
		_, err = Verify(Expect{Checkpoints: told}, cfg.Path)
		if err != nil {
			t.Error(err)
		}
	})
	for _, bad := range []string{"", ":", "1", "x:y", "1:abc", "-1:" + strings.Repeat("A", 43)} {
		_, err := ParseCheckpoint(bad)
		if err == nil {
			t.Errorf("%q was taken for a checkpoint", bad)
		}
	}
}

// Many at once: each line is whole, and those that ask for it are on the disk.
func TestConcurrentWriters(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxSize = 8 << 10
	l := open(t, cfg)
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			for range 25 {
				err := l.Append(Entry{Event: "requested", Request: strings.Repeat("r", 1+i)}, i%2 == 0)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	err := l.Close()
	if err != nil {
		t.Fatal(err)
	}
	files := rotated(t, cfg.Path)
	if len(files) < 3 {
		t.Fatalf("only %q", files)
	}
	count := 0
	for _, file := range files {
		for _, event := range events(t, file) {
			if event == "requested" {
				count++
			}
		}
	}
	if r := verify(t, files...); count != 200 || r.Unsigned != 0 {
		t.Errorf("%d entries, report %+v", count, r)
	}
}
