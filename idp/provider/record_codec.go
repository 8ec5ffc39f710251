package provider

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// requestFormat is the first byte of a stored request. All fields follow in a fixed
// order: numbers as varints, text with its length in front, lists with their number
// of items. A request is written and read several times before it is over, and this
// costs a tenth of what JSON does. What few requests have, and has parts of its own,
// is JSON all the same.
const requestFormat = 1

// errUnreadableRecord says that stored data are not what was written.
var errUnreadableRecord = errors.New("the stored data are damaged, or of another version")

// encode returns the record as it lies in the store.
func (r *requestRecord) encode() ([]byte, error) {
	var callback []byte
	if r.Callback != nil {
		var err error
		callback, err = json.Marshal(r.Callback)
		if err != nil {
			return nil, fmt.Errorf("encoding request: %w", err)
		}
	}
	b := make([]byte, 0, 256+len(r.Details)+len(callback))
	b = append(b, requestFormat)
	b = appendText(b, r.State)
	b = appendText(b, r.Client)
	b = appendText(b, r.Subject)
	b = appendList(b, r.Scope)
	b = r.Bound.appendTo(b)
	b = appendList(b, r.Resources)
	b = appendText(b, r.BindingMessage)
	b = appendList(b, r.ACRValues)
	b = appendText(b, r.Details)
	b = appendText(b, r.MatchCode)
	b = appendText(b, r.Place)
	for _, n := range []int64{r.Created, r.Expires, r.Interval, r.Window, r.Decided} {
		b = binary.AppendVarint(b, n)
	}
	b = appendList(b, r.Granted)
	b = binary.AppendVarint(b, r.AuthTime)
	b = appendList(b, r.AMR)
	b = appendText(b, r.ACR)
	b = binary.AppendVarint(b, r.Redeemed)
	b = appendFlag(b, r.Reported)
	for _, n := range []int64{int64(r.WrongMatches), r.Revoked, r.KeepUntil, r.HistoryUntil} {
		b = binary.AppendVarint(b, n)
	}
	b = appendText(b, r.ClientName)
	b = appendText(b, callback)
	b = appendFlag(b, r.Refresh != nil)
	if r.Refresh != nil {
		b = appendText(b, r.Refresh.Hash)
		b = binary.AppendVarint(b, r.Refresh.Expires)
		b = r.Refresh.Bound.appendTo(b)
	}
	return b, nil
}

// decode reads what encode has written. Nothing that the data may be makes it panic
// or take much memory.
func (r *requestRecord) decode(data []byte) error {
	if len(data) == 0 || data[0] != requestFormat {
		return errUnreadableRecord
	}
	d := recordReader{rest: string(data[1:])}
	*r = requestRecord{
		State:          State(d.text()),
		Client:         d.text(),
		Subject:        d.text(),
		Scope:          d.list(),
		Bound:          d.confirmation(),
		Resources:      d.list(),
		BindingMessage: d.text(),
		ACRValues:      d.list(),
		Details:        d.json(),
		MatchCode:      d.text(),
		Place:          d.text(),
		Created:        d.number(),
		Expires:        d.number(),
		Interval:       d.number(),
		Window:         d.number(),
		Decided:        d.number(),
		Granted:        d.list(),
		AuthTime:       d.number(),
		AMR:            d.list(),
		ACR:            d.text(),
		Redeemed:       d.number(),
		Reported:       d.flag(),
		WrongMatches:   int(d.number()),
		Revoked:        d.number(),
		KeepUntil:      d.number(),
		HistoryUntil:   d.number(),
		ClientName:     d.text(),
	}
	callback := d.json()
	if d.flag() {
		r.Refresh = &refreshState{Hash: d.text(), Expires: d.number(), Bound: d.confirmation()}
	}
	if d.failed || d.rest != "" {
		return errUnreadableRecord
	}
	if callback == nil {
		return nil
	}
	err := json.Unmarshal(callback, &r.Callback)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadableRecord, err)
	}
	return nil
}

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendList(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

func appendFlag(b []byte, set bool) []byte {
	if set {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendTo appends the keys; those that are none are like none at all.
func (c *confirmation) appendTo(b []byte) []byte {
	if c == nil {
		c = new(confirmation)
	}
	return appendText(appendText(b, c.JKT), c.X5T)
}

// recordReader takes fields off the front of a record. After a failure it returns
// zero values.
type recordReader struct {
	rest   string
	failed bool
}

func (d *recordReader) fail() {
	d.rest, d.failed = "", true
}

// size reads a length, which what follows must have room for.
func (d *recordReader) size() int {
	var n uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen32; i++ {
		c := d.rest[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.rest = d.rest[i+1:]
			if n > uint64(len(d.rest)) {
				break
			}
			return int(n)
		}
	}
	d.fail()
	return 0
}

func (d *recordReader) number() int64 {
	var n uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		c := d.rest[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.rest = d.rest[i+1:]
			return int64(n>>1) ^ -int64(n&1)
		}
	}
	d.fail()
	return 0
}

func (d *recordReader) text() string {
	n := d.size()
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *recordReader) json() json.RawMessage {
	s := d.text()
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}

func (d *recordReader) list() []string {
	n := d.size() // each item takes a byte at least
	if n == 0 {
		return nil
	}
	list := make([]string, 0, min(n, 16))
	for range n {
		list = append(list, d.text())
		if d.failed {
			return nil
		}
	}
	return list
}

func (d *recordReader) flag() bool {
	if d.rest == "" || d.rest[0] > 1 {
		d.fail()
		return false
	}
	set := d.rest[0] == 1
	d.rest = d.rest[1:]
	return set
}

func (d *recordReader) confirmation() *confirmation {
	c := confirmation{JKT: d.text(), X5T: d.text()}
	if c.none() {
		return nil
	}
	return &c
}
