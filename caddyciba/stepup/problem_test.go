package stepup

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// RFC 9457, design 3.4: what a caller reads.
func TestWriteProblem(t *testing.T) {
	f := refuse(ProblemOutcomeUnknown, outcomeUnknown, errors.New("dial tcp 10.0.0.7:8080: secret"))
	f.Transaction = "0b9f8c1e-5f0e-4c43-9d0f-2a0c1b1d2e3f"
	f.State = StateInDoubt
	f.Forwarded = ForwardedUnknown
	w := httptest.NewRecorder()
	WriteProblem(w, httptest.NewRequest("POST", "/p", nil), f)
	want := `{"type":"urn:caddyciba:problem:outcome-unknown","title":"The outcome of the request is not known","status":502,` +
		`"detail":"The upstream may have carried out the request. Find out before you repeat it.",` +
		`"instance":"urn:uuid:0b9f8c1e-5f0e-4c43-9d0f-2a0c1b1d2e3f","state":"in_doubt","forwarded":"unknown"}` + "\n"
	if w.Code != http.StatusBadGateway || w.Body.String() != want {
		t.Errorf("answer is %d %s", w.Code, w.Body)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/problem+json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Retry-After": "",
	} {
		if got := w.Header().Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
}

func TestWriteProblemDetails(t *testing.T) {
	f := refuse(ProblemBusy, "", nil)
	f.RetryAfter = 1500 * time.Millisecond
	w := httptest.NewRecorder()
	WriteProblem(w, httptest.NewRequest("HEAD", "/p", nil), f)
	if w.Body.Len() != 0 || w.Header().Get("Retry-After") != "2" || w.Header().Get("Content-Length") == "0" {
		t.Errorf("HEAD: %v %q", w.Header(), w.Body)
	}
	w = httptest.NewRecorder()
	WriteProblem(w, httptest.NewRequest("POST", "/p", nil), refuse(ProblemUnauthenticated, "", nil))
	if w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("401 names no scheme: %v", w.Header())
	}
	w = httptest.NewRecorder()
	WriteProblem(w, httptest.NewRequest("POST", "/p", nil), tooLarge(8))
	if !strings.Contains(w.Body.String(), `"limit":8`) || w.Header().Get("Connection") != "close" {
		t.Errorf("413: %v %s", w.Header(), w.Body)
	}
	r := httptest.NewRequest("POST", "/p", nil)
	r.ProtoMajor = 2
	w = httptest.NewRecorder()
	WriteProblem(w, r, tooLarge(8))
	if w.Header().Get("Connection") != "" {
		t.Errorf("HTTP/2 knows no Connection: %v", w.Header())
	}
	f = refuse(ProblemDenied, "", nil)
	f.Forwarded = "maybe"
	w = httptest.NewRecorder()
	WriteProblem(w, httptest.NewRequest("POST", "/p", nil), f)
	if w.Code != http.StatusInternalServerError {
		t.Errorf("an unknown value of forwarded: status %d", w.Code)
	}
}

// Each problem has a status and a title, and a name that can stand in a URN.
func TestProblems(t *testing.T) {
	slug := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	titles := map[string]Problem{}
	for p, kind := range problems {
		if !slug.MatchString(string(p)) || kind.status < 400 || kind.status > 599 || kind.title == "" {
			t.Errorf("%s: %+v", p, kind)
		}
		if titles[kind.title] != "" {
			t.Errorf("%s has the title of %s", p, titles[kind.title])
		}
		titles[kind.title] = p
		// Both invite callers to try again by themselves (design 3.4).
		approval := strings.HasPrefix(string(p), "approval-")
		if approval && kind.status != http.StatusForbidden {
			t.Errorf("%s has status %d", p, kind.status)
		}
	}
	for f, want := range map[Forwarded]string{ForwardedNo: "false", "": "false", ForwardedYes: "true", ForwardedUnknown: `"unknown"`} {
		got, err := json.Marshal(f)
		if err != nil || string(got) != want {
			t.Errorf("%q is rendered as %s, error %v", f, got, err)
		}
	}
}

func TestRefusalIsAnError(t *testing.T) {
	cause := errors.New("cause")
	f := refuse(ProblemDenied, "Nothing was sent.", cause)
	if !errors.Is(f, cause) || f.Error() != "approval-denied: Nothing was sent.: cause" {
		t.Errorf("error is %q", f)
	}
	if got := refuse(ProblemDenied, "Nothing was sent.", nil).Error(); got != "approval-denied: Nothing was sent." {
		t.Errorf("error is %q", got)
	}
}
