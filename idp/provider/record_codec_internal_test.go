package provider

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"
)

// fullRequest has something in each of its fields.
func fullRequest(t *testing.T) requestRecord {
	t.Helper()
	bound := &confirmation{JKT: "thumbprint", X5T: "certificate"}
	r := requestRecord{
		State: StateRedeemed, Client: "gateway", Subject: "sub-alice", Scope: []string{"openid", "profile"},
		Bound: bound, Resources: []string{"https://api.example"}, BindingMessage: "Pay 5 € to Bob", ACRValues: []string{"phr", ""},
		Details: json.RawMessage(`[{"type":"payment"}]`), MatchCode: "42", Place: "Branch 7",
		Created: 1700000000000, Expires: 1700000300000, Interval: 5, Window: -3,
		Decided: 1700000001000, Granted: []string{"openid"}, AuthTime: 1700000000, AMR: []string{"hwk", "user"}, ACR: "phr",
		Redeemed: 1700000002000, Reported: true, WrongMatches: 2, Revoked: 1<<63 - 1,
		Callback:  &callbackState{Push: true, Plain: &callbackSecret{AuthReqID: "a", Token: "t"}, Attempts: 1, Next: 2},
		Refresh:   &refreshState{Hash: "hash", Expires: -1 << 63, Bound: bound},
		KeepUntil: 1700000003000, HistoryUntil: 1700000004000, ClientName: "The Gateway",
	}
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("this test leaves %s out", v.Type().Field(i).Name)
		}
	}
	return r
}

// What is written is read, each field by itself and all of them together.
func TestRequestRecordIsReadAsWritten(t *testing.T) {
	full := fullRequest(t)
	records := map[string]requestRecord{"nothing": {}, "all": full}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		var one requestRecord
		reflect.ValueOf(&one).Elem().Field(i).Set(v.Field(i))
		records[v.Type().Field(i).Name] = one
	}
	for name, want := range records {
		data, err := want.encode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got requestRecord
		err = got.decode(data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n%+v, want\n%+v", name, err, got, want)
		}
	}
}

// Data that are cut short, too long, or something else are an error.
func TestDamagedRequestRecord(t *testing.T) {
	full := fullRequest(t)
	data, err := full.encode()
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{append(data[:len(data):len(data)], 0), []byte("{}"), {requestFormat + 1}}
	for end := range data {
		damaged = append(damaged, data[:end])
	}
	for _, d := range damaged {
		var r requestRecord
		err = r.decode(d)
		if !errors.Is(err, errUnreadableRecord) {
			t.Errorf("%d of %d bytes: %v", len(d), len(data), err)
		}
	}
}

func TestPollRecordIsReadAsWritten(t *testing.T) {
	want := pollRecord{Last: time.Now().UnixMilli(), Interval: 65}
	data := encodePoll(want)
	got, err := decodePoll(data)
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, d := range [][]byte{nil, data[:len(data)-1], append(data[:len(data):len(data)], 0)} {
		_, err = decodePoll(d)
		if !errors.Is(err, errUnreadableRecord) {
			t.Errorf("%v: %v", d, err)
		}
	}
}

// Whatever the data may be, they are read in full or refused, and what was read is
// written so that it is read again.
func FuzzRequestRecord(f *testing.F) {
	r := requestRecord{State: StatePending, Client: "c", Scope: []string{"openid"}, Created: 1, Refresh: &refreshState{Hash: "h"}}
	data, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{requestFormat, 255, 255, 255, 255, 127})
	f.Fuzz(func(t *testing.T, data []byte) {
		var r, again requestRecord
		err := r.decode(data)
		if err != nil {
			return
		}
		written, err := r.encode()
		if err == nil {
			err = again.decode(written)
		}
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%v: %+v became %+v", err, r, again)
		}
	})
}
