package store

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// checkRecord reports whether every engine can take the record.
func checkRecord(r *Record) error {
	if r == nil {
		return fmt.Errorf("%w: no record", ErrInvalid)
	}
	err := checkKey(r.Kind, r.ID)
	if err != nil {
		return err
	}
	if len(r.Data) > MaxData {
		return fmt.Errorf("%w: data has %d bytes, more than %d", ErrInvalid, len(r.Data), MaxData)
	}
	if len(r.Indexes) > MaxIndexes {
		return fmt.Errorf("%w: %d index entries, more than %d", ErrInvalid, len(r.Indexes), MaxIndexes)
	}
	for _, x := range r.Indexes {
		err = checkIndex(x)
		if err != nil {
			return err
		}
	}
	return nil
}

func checkKey(kind, id string) error {
	err := checkName("kind", kind, 1, MaxKind)
	if err != nil {
		return err
	}
	return checkName("id", id, 1, MaxID)
}

func checkIndex(x Index) error {
	err := checkName("index name", x.Name, 1, MaxKind)
	if err != nil {
		return err
	}
	return checkName("index value", x.Value, 0, MaxIndex)
}

func checkList(kind string, index Index, after string, limit int) error {
	err := checkName("kind", kind, 1, MaxKind)
	if err != nil {
		return err
	}
	err = checkIndex(index)
	if err != nil {
		return err
	}
	err = checkName("id to list after", after, 0, MaxID)
	if err != nil {
		return err
	}
	if limit < 1 {
		return fmt.Errorf("%w: limit %d is not positive", ErrInvalid, limit)
	}
	return nil
}

// checkName leaves the name itself out of the error: an index value may tell
// who a customer is.
func checkName(what, s string, least, most int) error {
	if len(s) < least || len(s) > most {
		return fmt.Errorf("%w: %s has %d bytes, not %d to %d", ErrInvalid, what, len(s), least, most)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("%w: %s contains NUL", ErrInvalid, what)
	}
	return nil
}

// live returns the error of a context that has ended. Engines ask before they
// begin, so that a call with an ended context never writes.
func live(ctx context.Context) error {
	err := ctx.Err()
	if err != nil {
		return fmt.Errorf("using the store: %w", err)
	}
	return nil
}

// toMillis is the stored form of an expiry: milliseconds since 1970, 0 for
// never. What lies before 1970 has expired like 1970 itself, and must not
// become a record that never does.
func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(t.UnixMilli(), 1)
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func expired(expires int64, now time.Time) bool {
	return expires != 0 && expires <= now.UnixMilli()
}

// uniqueIndexes returns a copy of the entries in their order without repeats.
// Records carry few entries, so comparing all pairs beats a map.
func uniqueIndexes(in []Index) []Index {
	if len(in) == 0 {
		return nil
	}
	out := make([]Index, 0, len(in))
next:
	for _, x := range in {
		for _, seen := range out {
			if seen == x {
				continue next
			}
		}
		out = append(out, x)
	}
	return out
}

// cloneData copies data; empty data becomes nil in every engine.
func cloneData(data []byte) []byte {
	if len(data) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(data)), data...)
}
