package store_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store"
)

// crashPath is the variable that makes this test binary the process that
// writes to the store and is killed.
const crashPath = "CIBA_STORE_CRASH_PATH"

const (
	crashRounds  = 4
	crashWriters = 8
	crashWrites  = 400 // acknowledged before the kill
)

var crashIndex = store.Index{Name: "n", Value: "v"}

// What a write has acknowledged is still there after the process was killed in
// the midst of its work, in every round, and so are the index entries.
func TestBoltSurvivesKill(t *testing.T) {
	path := boltPath(t)
	acknowledged := make(map[string]uint64)
	for round := range crashRounds {
		child := exec.Command(os.Args[0], "-test.run=^TestBoltCrashChild$", "-test.timeout=1m")
		child.Env = append(os.Environ(), crashPath+"="+path, "CIBA_STORE_CRASH_ROUND="+strconv.Itoa(round))
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		err = child.Start()
		if err != nil {
			t.Fatal(err)
		}
		got := readAcknowledged(out, acknowledged, func() {
			err := child.Process.Kill()
			if err != nil {
				t.Error(err)
			}
		})
		err = child.Wait()
		if got < crashWrites {
			t.Fatalf("round %d: the child acknowledged %d writes and ended with %v", round, got, err)
		}
		if err == nil {
			t.Fatalf("round %d: the child was not killed", round)
		}
		checkAcknowledged(t, path, acknowledged)
	}
}

// readAcknowledged notes the version of each record that the child has
// acknowledged. After crashWrites of them it calls kill, and reads on to the
// end of what the child could say.
func readAcknowledged(out io.Reader, acknowledged map[string]uint64, kill func()) int {
	count := 0
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return count // what is cut short may not have been meant
		}
		id, rest, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "ack ")), " ")
		version, err := strconv.ParseUint(rest, 10, 64)
		if !ok || err != nil || !strings.HasPrefix(line, "ack ") {
			continue
		}
		acknowledged[id] = max(acknowledged[id], version)
		count++
		if count == crashWrites {
			kill()
		}
	}
}

func checkAcknowledged(t *testing.T, path string, acknowledged map[string]uint64) {
	t.Helper()
	s, err := store.OpenBolt(path, store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for id, version := range acknowledged {
		r, err := s.Get(t.Context(), "k", id)
		if err != nil {
			t.Errorf("acknowledged record %s at version %d: %v", id, version, err)
			continue
		}
		// A write that was not acknowledged any more may have happened.
		if r.Version < version || string(r.Data) != crashData(id, r.Version) {
			t.Errorf("record %s is at version %d with %q, acknowledged was %d", id, r.Version, r.Data, version)
		}
	}
	listed, err := s.List(t.Context(), "k", crashIndex, "", 1_000_000)
	if err != nil || len(listed) < len(acknowledged) {
		t.Errorf("List has %d records of %d (%v)", len(listed), len(acknowledged), err)
	}
	err = s.Close()
	if err != nil {
		t.Error(err)
	}
}

func crashData(id string, version uint64) string {
	return fmt.Sprint(strings.Repeat(id, 20), " at version ", version)
}

// TestBoltCrashChild is the process that TestBoltSurvivesKill kills.
func TestBoltCrashChild(t *testing.T) {
	path := os.Getenv(crashPath)
	if path == "" {
		t.Skip("runs as the child of TestBoltSurvivesKill only")
	}
	s, err := store.OpenBolt(path, store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	for writer := range crashWriters {
		done.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprint(os.Getenv("CIBA_STORE_CRASH_ROUND"), "-", writer, "-", n)
				r := &store.Record{Kind: "k", ID: id, Data: []byte(crashData(id, 1)), Indexes: []store.Index{crashIndex}}
				err := s.Create(t.Context(), r)
				for err == nil && r.Version <= 3 {
					fmt.Printf("ack %s %d\n", r.ID, r.Version)
					r.Data = []byte(crashData(id, r.Version+1))
					err = s.Update(t.Context(), r)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
}
