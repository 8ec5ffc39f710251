package approval

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"
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

// A form has a time to come in. Where it does not, the deadline stays in place.
func TestFormsHaveADeadline(t *testing.T) {
	g := newRig(t)
	for name, c := range map[string]struct {
		body   io.Reader
		status int
		clears bool
	}{
		"whole":   {http.NoBody, http.StatusForbidden, true},
		"cut off": {iotest.ErrReader(errors.New("timeout")), http.StatusBadRequest, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, g.app.origin+"/sign-in", c.body)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", g.app.origin)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			before := time.Now()
			g.app.ServeHTTP(d, r)
			if d.Code != c.status {
				t.Errorf("status %d", d.Code)
			}
			if len(d.set) == 0 || d.set[0].Before(before.Add(formTime)) || d.set[0].After(time.Now().Add(formTime)) {
				t.Fatalf("deadlines %v", d.set)
			}
			if cleared := len(d.set) == 2 && d.set[1].IsZero(); cleared != c.clears {
				t.Errorf("deadlines %v", d.set)
			}
		})
	}
}
