package provider_test

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// deadlines is an answer that notes the deadlines for reading.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// A body has a time to come in. Where it does not, the deadline stays in place.
func TestFormsHaveADeadline(t *testing.T) {
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		length int64
		status int
		clears bool
	}{
		"whole":                {-1, 401, true},
		"cut off":              {1000, 400, false},
		"cut off, and larger":  {60000, 400, false},
		"length as it must be": {3, 401, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := time.Now()
			for _, path := range []string{"/token", "/backchannel-authentication", "/introspect", "/revoke"} {
				r := postRequest(path, "")
				r.Body = io.NopCloser(strings.NewReader("a=b"))
				r.ContentLength = c.length
				d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
				w.ServeHTTP(d, r)
				if d.Code != c.status {
					t.Errorf("%s: status %d", path, d.Code)
				}
				if len(d.set) == 0 || d.set[0].Before(before.Add(10*time.Second)) || d.set[0].After(time.Now().Add(10*time.Second)) {
					t.Fatalf("%s: deadlines %v", path, d.set)
				}
				if cleared := len(d.set) == 2 && d.set[1].IsZero(); cleared != c.clears {
					t.Errorf("%s: deadlines %v", path, d.set)
				}
			}
		})
	}
}
