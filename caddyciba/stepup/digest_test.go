package stepup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// formReader reads the canonical form back. That it can is the proof that no
// two values have the same form.
type formReader struct {
	rest []byte
	err  error
}

func (f *formReader) count() int {
	if len(f.rest) < 8 {
		f.err = errors.New("form is too short")
		return 0
	}
	n := binary.BigEndian.Uint64(f.rest)
	f.rest = f.rest[8:]
	return int(n)
}

func (f *formReader) text() string {
	n := f.count()
	if f.err != nil || n > len(f.rest) {
		f.err = errors.New("form is too short")
		return ""
	}
	text := string(f.rest[:n])
	f.rest = f.rest[n:]
	return text
}

func readForm(form []byte) (*bound, error) {
	f := &formReader{rest: form}
	if f.text() != digestVersion {
		return nil, errors.New("form has another version")
	}
	b := &bound{method: f.text(), scheme: f.text(), host: f.text(), target: f.text(), header: map[string][]string{}}
	for range f.count() {
		name := f.text()
		values := []string{}
		for range f.count() {
			values = append(values, f.text())
		}
		b.header[name] = values
	}
	b.body = []byte(f.text())
	b.caller, b.customer = f.text(), f.text()
	if f.err == nil && len(f.rest) > 0 {
		f.err = errors.New("something follows the form")
	}
	return b, f.err
}

// INV-2: the canonical form is injective.
func FuzzCanonicalForm(f *testing.F) {
	f.Add("POST", "https", "a", "/p", "content-type", "a/b", "x", "y", []byte("body"), "teller", "alice")
	f.Add("", "", "", "", "", "", "", "", []byte(nil), "", "")
	f.Add("POST", "http", "a\x00", "/p", "x", "", "x", "", []byte{0, 0, 0, 0, 0, 0, 0, 1}, "a", "")
	f.Fuzz(func(t *testing.T, method, scheme, host, target, name1, value1, name2, value2 string, body []byte, caller, customer string) {
		b := &bound{
			method: method, scheme: scheme, host: host, target: target,
			header: map[string][]string{}, body: append([]byte{}, body...), caller: caller, customer: customer,
		}
		b.header[name1] = append(b.header[name1], value1)
		b.header[name2] = append(b.header[name2], value2)
		var form bytes.Buffer
		canonicalWriter{w: &form}.bound(b)
		back, err := readForm(form.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(b, back) {
			t.Errorf("read back as %+v, want %+v", back, b)
		}
	})
}

// The form is part of what other software may come to rely on.
func TestDigestIsStable(t *testing.T) {
	r := httptest.NewRequest("POST", "https://API.example.com/v1/transfers?x=1", strings.NewReader(`{"amount":10}`))
	r.Header.Set("Content-Type", "application/json")
	d := take(t, r).digest("teller", "alice", nil)
	const want = "GQ6_uWx-"
	if d.Short() != d.String()[:8] || len(d.String()) != 43 {
		t.Errorf("digest is %s, short %s", d, d.Short())
	}
	if d.Short() != want {
		t.Errorf("digest is %s, want %s…", d, want)
	}
}

// Threat T1: a change at any of these points is another digest.
func TestDigestBindsEverything(t *testing.T) {
	base := func() *bound {
		return &bound{
			method: "POST", scheme: "https", host: "a", target: "/p?x=1",
			header: map[string][]string{"content-type": {"application/json"}},
			body:   []byte(`{"amount":10}`), caller: "teller", customer: "alice",
		}
	}
	changes := map[string]func(*bound){
		"method":       func(b *bound) { b.method = "PUT" },
		"scheme":       func(b *bound) { b.scheme = "http" },
		"host":         func(b *bound) { b.host = "b" },
		"path":         func(b *bound) { b.target = "/P?x=1" },
		"query":        func(b *bound) { b.target = "/p?x=2" },
		"header":       func(b *bound) { b.header["content-type"] = []string{"application/xml"} },
		"header added": func(b *bound) { b.header["soapaction"] = []string{""} },
		"header twice": func(b *bound) { b.header["content-type"] = append(b.header["content-type"], "x") },
		"header gone":  func(b *bound) { clear(b.header) },
		"body":         func(b *bound) { b.body[11] = '1' },
		"body longer":  func(b *bound) { b.body = append(b.body, ' ') },
		"caller":       func(b *bound) { b.caller = "other" },
		"customer":     func(b *bound) { b.customer = "bob" },
		"shifted":      func(b *bound) { b.caller, b.customer = "tellera", "lice" },
	}
	seen := map[Digest]string{base().digest(): "nothing"}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		b := base()
		changes[name](b)
		d := b.digest()
		if seen[d] != "" {
			t.Errorf("a change of %s has the digest of a change of %s", name, seen[d])
		}
		seen[d] = name
	}
}

func TestDigestHeadersOfTheRoute(t *testing.T) {
	r := httptest.NewRequest("POST", "/p", nil)
	r.Header.Set("X-Branch", "7")
	s := take(t, r)
	if s.digest("", "", nil) == s.digest("", "", []string{"x-branch"}) {
		t.Error("a header of the route is not bound")
	}
	if s.digest("", "", []string{"X-Branch"}) != s.digest("", "", []string{"x-branch", "X-BRANCH"}) {
		t.Error("the spelling of a header's name matters")
	}
}
