package approval

import (
	"bufio"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"
)

// lines reads a file of test cases, one a line.
func lines(t testing.TB, name string) []string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		out = append(out, scanner.Text())
	}
	if len(out) == 0 || scanner.Err() != nil {
		t.Fatalf("%s: no cases, %v", name, scanner.Err())
	}
	return out
}

// U09: sign-in leads to pages of ours and nowhere else.
func TestNext(t *testing.T) {
	g := newRig(t)
	for _, next := range append(lines(t, "testdata/next.txt"), "/requests/"+strings.Repeat("a", 9<<10), "/requests/a\r\nLocation: //evil", "/\x00") {
		b := g.browser()
		form := url.Values{"username": {"alice"}, "password": {testPassword}, "next": {next}}
		form.Set("token", token(t, b.get("/sign-in")))
		w := b.post("/sign-in", form)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
			t.Errorf("next=%.60q posted: %d to %q", next, w.Code, w.Header().Get("Location"))
		}
		w = b.get("/sign-in?" + url.Values{"next": {next}}.Encode())
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
			t.Errorf("next=%.60q while signed in: %d to %q", next, w.Code, w.Header().Get("Location"))
		}
	}
	for _, next := range []string{"/", "/requests/abc", "/requests/aB3-_"} {
		w := g.signedIn("alice").get("/sign-in?" + url.Values{"next": {next}}.Encode())
		if w.Header().Get("Location") != next {
			t.Errorf("next=%q leads to %q", next, w.Header().Get("Location"))
		}
	}
}

// challengePattern finds the challenge in the options of a passkey, which is new each
// time.
var challengePattern = regexp.MustCompile(`challenge&#34;:&#34;[A-Za-z0-9_-]+`)

// U11: a stranger learns nothing about who exists. Status, headers and body are
// the same and as much work is done: one comparison, for unknown users with the
// fake hash.
func TestSignInFailuresLookAlike(t *testing.T) {
	g := newRig(t)
	g.app.cfg.Brand.Name = "X" // no name of a user may be part of the page's own words
	var first string
	for _, user := range []string{"alice", "bob00", "eve"} {
		b := g.browser()
		b.cookies[g.app.cookieName("form")] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // so that tokens are the same
		before := g.compares
		password := "wrong"
		if user == "eve" {
			password = testPassword // right, but she is disabled
		}
		w := b.signIn(user, password)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d", user, w.Code)
		}
		if g.compares != before+1 {
			t.Errorf("%s: %d comparisons", user, g.compares-before)
		}
		var head strings.Builder
		err := w.Header().WriteSubset(&head, map[string]bool{"Content-Length": true})
		if err != nil {
			t.Fatal(err)
		}
		answer := head.String() + strings.Replace(w.Body.String(), `value="`+user+`"`, `value=""`, 1)
		answer = challengePattern.ReplaceAllString(answer, "")
		if first == "" {
			first = answer
		}
		if answer != first {
			t.Errorf("%s gets another answer:\n%s\n---\n%s", user, answer, first)
		}
	}
	if string(g.hashes[1]) != "plain:fake" {
		t.Errorf("for the unknown user %q was compared", g.hashes[1])
	}
}

// U12: passwords of every kind.
func TestPasswords(t *testing.T) {
	tests := map[string]struct {
		password string
		want     int
	}{
		"right":           {testPassword, http.StatusSeeOther},
		"decomposed":      {norm.NFD.String(testPassword), http.StatusSeeOther},
		"empty":           {"", http.StatusUnauthorized},
		"NUL":             {"\x00", http.StatusUnauthorized},
		"right with NUL":  {testPassword + "\x00", http.StatusUnauthorized},
		"other case":      {strings.ToUpper(testPassword), http.StatusUnauthorized},
		"space in front":  {" " + testPassword, http.StatusUnauthorized},
		"1025 characters": {strings.Repeat("a", 1025), http.StatusUnauthorized},
		"1 MiB":           {strings.Repeat("a", 1<<20), http.StatusRequestEntityTooLarge},
		"invalid UTF-8":   {"\xff\xfe", http.StatusUnauthorized},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			w := g.browser().signIn("alice", test.password)
			if w.Code != test.want {
				t.Errorf("status %d, want %d", w.Code, test.want)
			}
			if test.want == http.StatusUnauthorized && g.compares != 1 {
				t.Errorf("%d comparisons, want 1", g.compares)
			}
			if strings.Contains(w.Body.String(), "Grüße") {
				t.Error("the page repeats the password")
			}
		})
	}
}

func TestPasswordOf1024CharactersIsCompared(t *testing.T) {
	g := newRig(t)
	g.browser().signIn("alice", strings.Repeat("ü", 1024))
	if g.compares != 1 || string(g.hashes[0]) != "plain:"+testPassword {
		t.Errorf("%d comparisons", g.compares)
	}
}

// U13: guessing is slowed down per user and per source, and ends by itself.
func TestSignInThrottle(t *testing.T) {
	g := newRig(t)
	b := g.browser()
	for i := range userAttempts {
		// Case and spaces make no new user.
		name := []string{"alice", "Alice", " alice "}[i%3]
		if w := b.signIn(name, "wrong"); w.Code != http.StatusUnauthorized {
			t.Fatalf("attempt %d: %d", i+1, w.Code)
		}
	}
	before := g.compares
	w := b.signIn("alice", testPassword)
	retry, err := strconv.Atoi(w.Header().Get("Retry-After"))
	if w.Code != http.StatusTooManyRequests || err != nil || retry < 1 || retry > 15*60 {
		t.Errorf("attempt too many: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if g.compares != before {
		t.Error("a password was compared in spite of the limit")
	}
	if w := b.signIn("bob", testPassword); w.Code != http.StatusSeeOther {
		t.Errorf("another user: %d", w.Code)
	}
	g.clock.advance(time.Duration(retry) * time.Second)
	if w := g.browser().signIn("alice", testPassword); w.Code != http.StatusSeeOther {
		t.Errorf("after the wait: %d", w.Code)
	}
}

func TestSignInThrottlePerSource(t *testing.T) {
	g := newRig(t)
	source := "2001:db8:1:2::1"
	g.app.cfg.ClientIP = func(*http.Request) string { return source }
	b := g.browser()
	for i := range sourceAttempts {
		source = "2001:db8:1:2::" + strconv.FormatInt(int64(i+1), 16) // one subscriber's network
		if w := b.signIn("user"+strconv.Itoa(i), "wrong"); w.Code != http.StatusUnauthorized {
			t.Fatalf("attempt %d: %d", i+1, w.Code)
		}
	}
	if w := b.signIn("another", "wrong"); w.Code != http.StatusTooManyRequests {
		t.Errorf("attempt too many: %d", w.Code)
	}
	source = "2001:db8:1:3::1"
	if w := b.signIn("alice", testPassword); w.Code != http.StatusSeeOther {
		t.Errorf("from elsewhere: %d", w.Code)
	}
}

// Success clears what was counted for the user; whoever owns an account cannot
// clear the count of the source with it.
func TestSuccessClearsTheUser(t *testing.T) {
	g := newRig(t)
	for range 3 {
		for range userAttempts - 1 {
			g.browser().signIn("alice", "wrong")
		}
		if w := g.browser().signIn("alice", testPassword); w.Code != http.StatusSeeOther {
			t.Fatalf("sign-in: %d", w.Code)
		}
	}
	n := 0
	for ; g.browser().signIn("x"+strconv.Itoa(n), "wrong").Code == http.StatusUnauthorized; n++ {
	}
	if want := sourceAttempts - 3*(userAttempts-1); n != want {
		t.Errorf("%d further attempts, want %d", n, want)
	}
}

// Attempts at the same moment are all counted.
func TestThrottleHasNoGap(t *testing.T) {
	g := newRig(t)
	form := url.Values{"username": {"alice"}, "password": {"wrong"}}
	shared := g.browser()
	form.Set("token", token(t, shared.get("/sign-in")))
	var wait sync.WaitGroup
	for range 64 {
		b := g.browser()
		for k, v := range shared.cookies {
			b.cookies[k] = v
		}
		wait.Go(func() { b.post("/sign-in", form) })
	}
	wait.Wait()
	if g.compares > userAttempts {
		t.Errorf("%d passwords compared, at most %d allowed", g.compares, userAttempts)
	}
}

// Only so many comparisons run at once, for each of them holds much memory.
func TestPasswordSlots(t *testing.T) {
	var mu sync.Mutex
	running, most := 0, 0
	g := newRig(t)
	g.app.slots = make(chan struct{}, 2)
	g.app.cfg.ComparePassword = func([]byte, []byte) (bool, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(2 * time.Millisecond) // what a hash takes
		mu.Lock()
		running--
		mu.Unlock()
		return false, nil
	}
	var wait sync.WaitGroup
	for i := range 20 {
		b := g.browser()
		wait.Go(func() { b.signIn("user"+strconv.Itoa(i), "wrong") })
	}
	wait.Wait()
	if most != 2 {
		t.Errorf("%d comparisons at once, want 2", most)
	}
}

// What is down fails closed, and says so without detail.
func TestStoreDown(t *testing.T) {
	g := newRig(t)
	b := g.signedIn("alice")
	_, id := g.ask("alice", "")
	form := b.decision(id, "approve")
	users := &switchable{UserStore: g.app.cfg.Users, err: errors.New("canary: directory at 10.1.2.3 down")}
	g.app.cfg.Users = users
	for name, w := range map[string]*httptest.ResponseRecorder{
		"list":     b.get("/"),
		"request":  b.get("/requests/" + id),
		"decision": b.post("/requests/"+id+"/decision", form),
		"sign-in":  g.browser().signIn("alice", testPassword),
	} {
		if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "canary") {
			t.Errorf("%s: %d\n%s", name, w.Code, w.Body)
		}
	}
	users.err = nil
	err := g.store.Close()
	if err != nil {
		t.Fatal(err)
	}
	if w := b.get("/"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("closed store: %d", w.Code)
	}
}
