package provider_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

func TestSealer(t *testing.T) {
	sealer := func(keys ...byte) *provider.Sealer {
		t.Helper()
		var full [][]byte
		for _, key := range keys {
			full = append(full, bytes.Repeat([]byte{key}, 32))
		}
		s, err := provider.NewSealer(full, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	seal := func(s *provider.Sealer) string {
		t.Helper()
		text, err := s.Seal("place", []byte("seed"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	sealed, plain := seal(sealer(1)), seal(sealer())
	if strings.Contains(sealed, "73656564") {
		t.Errorf("sealed text %s shows what is sealed", sealed)
	}
	changed := sealed[:len(sealed)-1] + "0"
	if changed == sealed {
		changed = sealed[:len(sealed)-1] + "1"
	}
	tests := map[string]struct {
		sealer *provider.Sealer
		place  string
		text   string
		ok     bool
	}{
		"same key":           {sealer(1), "place", sealed, true},
		"older key":          {sealer(2, 1), "place", sealed, true},
		"plain with a key":   {sealer(1), "place", plain, true},
		"plain without keys": {sealer(), "place", plain, true},
		"other key":          {sealer(2), "place", sealed, false},
		"no key":             {sealer(), "place", sealed, false},
		"other place":        {sealer(1), "elsewhere", sealed, false},
		"changed":            {sealer(1), "place", changed, false},
		"broken plain":       {sealer(1), "place", "plain.zz", false},
		"empty":              {sealer(1), "place", "", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := test.sealer.Open(test.place, test.text)
			if test.ok != (err == nil && string(data) == "seed") {
				t.Errorf("Open: %q, %v", data, err)
			}
		})
	}
}
