package audit

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rotated are the files of a log in the order in which they were written.
func rotated(t *testing.T, path string) []string {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	number := func(name string) uint64 {
		n, err := strconv.ParseUint(strings.TrimPrefix(name, path+"."), 10, 64)
		if err != nil {
			return 1 << 63
		}
		return n
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Compare(number(a), number(b)) })
	return files
}

// A process that dies in the middle of a line, at whatever byte, leaves remains that
// the next one marks, and that cannot be changed afterwards. It can die again while
// it does that.
func TestTornLine(t *testing.T) {
	cfg := testConfig(t)
	l := open(t, cfg)
	write(t, l, "requested", "approved")
	l.mu.Lock()
	l.release() // without an end
	l.mu.Unlock()
	text := read(t, cfg.Path)
	whole := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
	for cut := whole + 1; cut < len(text)-3; cut += 23 {
		torn(t, text, cut)
	}
	for cut := len(text) - 3; cut < len(text); cut++ {
		torn(t, text, cut)
	}
}

func torn(t *testing.T, text []byte, cut int) {
	t.Helper()
	cfg := testConfig(t)
	err := os.WriteFile(cfg.Path, text[:cut], 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Verify(Expect{}, cfg.Path)
	if err == nil {
		t.Fatalf("a line that was cut off at %d was not found", cut)
	}
	l := open(t, cfg)
	write(t, l, "sent")
	r := verify(t, cfg.Path)
	want := uint64(4)
	if cut == len(text)-1 {
		want = 5 // the line is whole but for its end
	}
	if len(r.Torn) != 1 || r.Torn[0] != want {
		t.Fatalf("cut at %d: report %+v", cut, r)
	}
	marked := read(t, cfg.Path)
	if !bytes.HasPrefix(marked, text[:cut]) {
		t.Fatal("what was there was changed")
	}
	_ = l.Close()
	// The remains are bound to their mark.
	changed := bytes.Clone(marked)
	changed[cut-1] ^= 1
	err = os.WriteFile(cfg.Path, changed, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Verify(Expect{}, cfg.Path)
	if err == nil {
		t.Fatalf("remains that were changed at %d were not found", cut-1)
	}
	// Death within the mark: at the end of its line, and in its middle.
	if cut%5 != 0 {
		return
	}
	mark := bytes.IndexByte(marked[cut:], '\n') + cut + 1
	for _, end := range []int{mark, mark + 1, mark + 30} {
		err = os.WriteFile(cfg.Path, marked[:end], 0o600)
		if err != nil {
			t.Fatal(err)
		}
		l = open(t, cfg)
		write(t, l, "sent")
		if r := verify(t, cfg.Path); len(r.Torn) != 1 {
			t.Errorf("cut at %d and %d: report %+v", cut, end, r)
		}
		_ = l.Close()
	}
}

// A first line that was torn, and a file that is not a log.
func TestOpenOthers(t *testing.T) {
	cfg := testConfig(t)
	err := os.WriteFile(cfg.Path, []byte(`{"v":1,"se`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, cfg)
	write(t, l, "sent")
	if r := verify(t, cfg.Path); r.First != 1 || len(r.Torn) != 1 {
		t.Errorf("report %+v", r)
	}
	for name, content := range map[string]string{
		"a line that was changed": strings.Replace(string(read(t, cfg.Path)), `"sent"`, `"tens"`, 1),
	} {
		other := testConfig(t)
		err = os.WriteFile(other.Path, []byte(content), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(other)
		if !errors.Is(err, errHash) {
			t.Errorf("%s: %v", name, err)
		}
		if got := read(t, other.Path); string(got) != content {
			t.Errorf("%s: something was written", name)
		}
	}
	for name, change := range map[string]func(*Config){
		"no path":      func(c *Config) { c.Path = "" },
		"no node":      func(c *Config) { c.Node = "" },
		"no key":       func(c *Config) { c.Key = nil },
		"a directory":  func(c *Config) { c.Path = filepath.Dir(c.Path) },
		"no directory": func(c *Config) { c.Path = filepath.Join(c.Path, "x", "y") },
	} {
		bad := testConfig(t)
		change(&bad)
		_, err := Open(bad)
		if err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// A disk that is full, or fails, is an error for the entry and no end: the next one
// finds out what is there.
func TestWriteFails(t *testing.T) {
	cfg := testConfig(t)
	l := open(t, cfg)
	write(t, l, "requested")
	l.mu.Lock()
	_ = l.file.Close() // every write fails now
	l.mu.Unlock()
	err := l.Append(Entry{Event: "sent"}, true)
	if err == nil {
		t.Fatal("an entry was written nowhere")
	}
	// As when half of a line has come onto the disk.
	file, err := os.OpenFile(cfg.Path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteString(`{"v":1,"seq":4`)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	write(t, l, "sent")
	wantEvents(t, cfg.Path, EventOpened, EventCheckpoint, "requested", "?", EventTorn, EventOpened, EventCheckpoint, "sent")
	verify(t, cfg.Path)
	err = l.Append(Entry{Event: "x", Message: strings.Repeat("m", maxLine)}, false)
	if err == nil {
		t.Error("an entry that is too long was written")
	}
	write(t, l, "answered")
	verify(t, cfg.Path)
}

// Lines that were signed once and are not there any more leave a trace, when the log
// is opened again.
func TestTruncatedBehindCheckpoint(t *testing.T) {
	cfg := testConfig(t)
	l := open(t, cfg)
	write(t, l, "approved")
	text := read(t, cfg.Path)
	write(t, l, "sent")
	err := l.Close()
	if err != nil {
		t.Fatal(err)
	}
	known := l.Last()
	err = os.WriteFile(cfg.Path, text, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Last = known
	l = open(t, cfg)
	write(t, l, "requested")
	wantEvents(t, cfg.Path, EventOpened, EventCheckpoint, "approved", EventTruncated, EventOpened, EventCheckpoint, "requested")
	if r := verify(t, cfg.Path); !slices.Equal(r.Truncated, []uint64{4}) {
		t.Errorf("report %+v", r)
	}
	_, err = Verify(Expect{Checkpoints: []Checkpoint{known}}, cfg.Path)
	if err == nil {
		t.Error("a checkpoint that is missing was not missed")
	}
	// The whole file is gone.
	_ = l.Close()
	err = os.Remove(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	l = open(t, cfg)
	if r := verify(t, cfg.Path); !slices.Equal(r.Truncated, []uint64{1}) {
		t.Errorf("report %+v", r)
	}
	// Nothing is missing.
	_ = l.Close()
	cfg.Last = l.Last()
	_ = open(t, cfg)
	if r := verify(t, cfg.Path); len(r.Truncated) != 1 {
		t.Errorf("report %+v", r)
	}
}

// A chain goes on from file to file, and a file in between is missed, also if the
// process dies between the renaming and the first line.
func TestRotation(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxSize = 2 << 10
	l := open(t, cfg)
	for range 20 {
		write(t, l, "requested")
	}
	err := l.Close()
	if err != nil {
		t.Fatal(err)
	}
	err = os.Rename(cfg.Path, cfg.Path+"."+strconv.FormatUint(l.Last().Seq, 10))
	if err != nil {
		t.Fatal(err)
	}
	l = open(t, cfg)
	write(t, l, "sent")
	files := rotated(t, cfg.Path)
	if len(files) < 4 {
		t.Fatalf("only %q", files)
	}
	wantEvents(t, cfg.Path, EventContinued, EventOpened, EventCheckpoint, "sent")
	verify(t, files...)
	_, err = Verify(Expect{}, slices.Delete(slices.Clone(files), 1, 2)...)
	if err == nil {
		t.Error("a missing file was not missed")
	}
	_, err = Verify(Expect{}, files[1], files[0])
	if err == nil {
		t.Error("files in another order were taken")
	}
	if r := verify(t, files[2:]...); r.First == 1 {
		t.Errorf("report %+v", r)
	}
	_, err = Verify(Expect{}, filepath.Join(t.TempDir(), "missing"))
	if err == nil {
		t.Error("a file that is not there was taken")
	}
}
