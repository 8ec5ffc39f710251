package stepup

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// navigation is what browsers send when they go to a page.
var navigation = http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}

// browse is a browser that has been sent to its waiting page.
type browse struct {
	b        *bench
	location string
	cookie   *http.Cookie
}

// submit posts a form by navigation, which is to end at the waiting page.
func (b *bench) submit(t *testing.T, target, body string) *browse {
	t.Helper()
	w := b.do("POST", target, body, navigation)
	cookies := w.Result().Cookies()
	if w.Code != 303 || len(cookies) != 1 || w.Body.Len() != 0 {
		t.Fatalf("answer is %d %v %s", w.Code, w.Header(), w.Body)
	}
	c := cookies[0]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.SameSite != http.SameSiteLaxMode || len(c.Value) != 43 {
		t.Errorf("cookie is %v", c)
	}
	return &browse{b: b, location: w.Header().Get("Location"), cookie: c}
}

func (p *browse) headers(more ...http.Header) []http.Header {
	return append([]http.Header{navigation, {"Cookie": {p.cookie.Name + "=" + p.cookie.Value}}}, more...)
}

// page reads the waiting page.
func (p *browse) page(t *testing.T) string {
	t.Helper()
	w := p.b.look("GET", p.location, "", p.headers()...)
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || w.Header().Get("Cache-Control") != "no-store" ||
		!strings.Contains(w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Fatalf("page is %d %v", w.Code, w.Header())
	}
	return w.Body.String()
}

var (
	action = regexp.MustCompile(`<form method="post" action="([^"]+)"`)
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]+)">`)
)

// form returns where the first form of a page goes and what it carries.
func form(t *testing.T, page string) (string, url.Values) {
	t.Helper()
	target := action.FindAllStringSubmatch(page, -1)
	if len(target) == 0 {
		t.Fatalf("page has %d forms:\n%s", len(target), page)
	}
	values := url.Values{}
	for _, field := range hidden.FindAllStringSubmatch(page, -1) {
		values.Set(field[1], field[2])
	}
	return strings.ReplaceAll(target[0][1], "&amp;", "&"), values
}

// post posts a form of the page.
func (p *browse) post(target string, values url.Values, more ...http.Header) *httptest.ResponseRecorder {
	more = append(more, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	return p.b.look("POST", target, values.Encode(), p.headers(more...)...)
}

// A browser waits on a page, and after the approval gets the upstream's own
// answer, at the address of its request; the request is sent for it alone.
func TestRedirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := &counting{}
		b := newBench(t, func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Content-Type", "text/html")
			err := upstream.next(w, r)
			_, _ = w.Write([]byte("<p>booked"))
			return err
		})
		auto(b)
		b.route.MatchCode = true
		decide := b.undecided()
		p := b.submit(t, "http://bank.example/p?a=1", "amount=1")
		page := p.page(t)
		code := regexp.MustCompile(`<output[^>]*>(\d\d)</output>`).FindStringSubmatch(page)
		if code == nil || !strings.HasPrefix(b.client.requests[0].BindingMessage, code[1]+" ") || !strings.Contains(page, "Pay") || !strings.Contains(page, "http-equiv=\"refresh\"") {
			t.Errorf("page is\n%s", page)
		}
		target, _ := form(t, page)
		if target != p.location+"/cancel" {
			t.Errorf("form goes to %s", target)
		}
		close(decide)
		synctest.Wait()
		if upstream.count() != 0 {
			t.Fatal("was sent without its browser")
		}
		page = p.page(t)
		target, values := form(t, page)
		if target != "/p?a=1&ciba_continue" || strings.Contains(page, "http-equiv") {
			t.Fatalf("form goes to %s:\n%s", target, page)
		}
		target = "http://bank.example" + target

		for name, refused := range map[string]func() *httptest.ResponseRecorder{
			"no secret": func() *httptest.ResponseRecorder {
				return p.post(target, url.Values{"transaction": values["transaction"]})
			},
			"cross-site": func() *httptest.ResponseRecorder {
				return p.post(target, values, http.Header{"Sec-Fetch-Site": {"cross-site"}})
			},
			"other origin": func() *httptest.ResponseRecorder {
				return p.post(target, values, http.Header{"Origin": {"https://evil.example"}})
			},
			"null origin": func() *httptest.ResponseRecorder { return p.post(target, values, http.Header{"Origin": {"null"}}) },
			"no cookie": func() *httptest.ResponseRecorder {
				return b.look("POST", target, values.Encode(), navigation, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
			},
			"elsewhere": func() *httptest.ResponseRecorder { return p.post("http://bank.example/q?ciba_continue", values) },
		} {
			if w := refused(); w.Code != 403 && w.Code != 404 {
				t.Errorf("%s: %d", name, w.Code)
			}
		}
		if upstream.count() != 0 {
			t.Fatal("was sent for somebody else")
		}

		w := p.post(target, values, http.Header{"Origin": {"http://bank.example"}, "Sec-Fetch-Site": {"same-origin"}})
		if w.Code != 201 || w.Body.String() != "<p>booked" || w.Header().Get("Content-Security-Policy") != "" {
			t.Errorf("answer is %d %v %s", w.Code, w.Header(), w.Body)
		}
		if upstream.count() != 1 || upstream.bodies[0] != "amount=1" || upstream.header.Get("Cookie") != "" {
			t.Errorf("upstream got %v %v", upstream.bodies, upstream.header)
		}
		// The page is reloaded: the same answer, and nothing is sent again.
		synctest.Wait()
		again := p.post(target, values)
		if again.Code != 201 || again.Body.String() != "<p>booked" || upstream.count() != 1 {
			t.Errorf("again: %d %s, sent %d times", again.Code, again.Body, upstream.count())
		}
		if requests, _ := b.gate.Held(); requests != 0 || b.only(t).State != StateAnswered {
			t.Errorf("%d requests are held, state %s", requests, b.only(t).State)
		}
	})
}

// A page that is closed before its approved request was sent has nothing sent.
func TestRedirectNobodyComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, answering(201, ""))
		auto(b)
		p := b.submit(t, "/p", "1")
		synctest.Wait()
		if state := b.only(t).State; state != StateApproved {
			t.Fatalf("state is %s", state)
		}
		time.Sleep(continueTime + time.Second)
		synctest.Wait()
		if tr := b.only(t); tr.State != StateCancelled || b.client.revocations() != 1 {
			t.Errorf("state %s, %d tokens revoked", tr.State, b.client.revocations())
		}
		if page := p.page(t); !strings.Contains(page, "Cancelled") || action.MatchString(page) {
			t.Errorf("page is\n%s", page)
		}
	})
}

// What a person reads at each end, and that cancelling works from the page.
func TestRedirectEnds(t *testing.T) {
	cases := map[string]struct {
		decide error
		want   string
	}{
		"denied":  {&ciba.Error{Op: "wait", Code: ciba.CodeAccessDenied}, "Denied on the phone"},
		"expired": {&ciba.Error{Op: "wait", Code: ciba.CodeExpiredToken}, "Not approved in time"},
		"cancel":  {nil, "Cancelled"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				upstream := &counting{}
				b := newBench(t, upstream.next)
				auto(b)
				decide := b.undecided()
				p := b.submit(t, "/p", "1")
				if c.decide != nil {
					decide <- c.decide
				} else {
					target, values := form(t, p.page(t))
					if w := p.post(target, url.Values{}); w.Code != 403 {
						t.Errorf("cancel without secret: %d", w.Code)
					}
					w := p.post(target, values)
					if w.Code != 303 || w.Header().Get("Location") != p.location {
						t.Errorf("cancel: %d %v", w.Code, w.Header())
					}
				}
				synctest.Wait()
				if page := p.page(t); !strings.Contains(page, "<h1>"+c.want) || action.MatchString(page) {
					t.Errorf("page is\n%s", page)
				}
				if upstream.count() != 0 {
					t.Error("was sent")
				}
			})
		})
	}
}

// A refusal is a page for a browser, with its status (gateways.md 4.5).
func TestProblemPage(t *testing.T) {
	b := newBench(t, answering(201, ""))
	auto(b)
	b.route.MaxBody = 1
	w := b.do("POST", "/p", "12", navigation)
	if w.Code != 413 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || !strings.Contains(w.Body.String(), "body-too-large") {
		t.Errorf("answer is %d %v", w.Code, w.Header())
	}
}

// Of an anonymous browser nothing is known but its cookie: neither its address
// nor its name in a new request opens its page.
func TestRedirectAnonymous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, answering(201, ""))
		auto(b)
		decide := b.undecided()
		ask := b.route.Ask
		b.route.Ask = anonymously(ask)
		p := b.submit(t, "/p", "1")
		if w := b.look("GET", p.location, "", navigation, teller); w.Code != 404 {
			t.Errorf("without cookie: %d", w.Code)
		}
		p.page(t)
		again := b.do("POST", "/p", "1", navigation)
		if again.Code != 409 || len(again.Result().Cookies()) != 0 {
			t.Errorf("again: %d %v", again.Code, again.Header())
		}
		close(decide)
		synctest.Wait()
		time.Sleep(time.Hour)
	})
}

// A browser whose user is signed in comes to its page also by sending the same
// once more, and the customer is asked once.
func TestRedirectTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, answering(201, ""))
		auto(b)
		decide := b.undecided()
		first := b.submit(t, "/p", "1")
		second := b.submit(t, "/p", "1")
		if first.location != second.location || b.client.asked() != 1 {
			t.Errorf("sent to %s and %s, asked %d times", first.location, second.location, b.client.asked())
		}
		close(decide)
		synctest.Wait()
		time.Sleep(time.Hour)
	})
}
