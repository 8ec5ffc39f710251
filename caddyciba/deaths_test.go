package caddyciba

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// A death is one case of the matrix.
type death struct {
	protocol string
	retrial  retrial
	kept     bool // the connection was in use before
	script
	method string
	body   string
	key    bool // an Idempotency-Key
}

func (d death) String() string {
	extra := ""
	if d.interim != 0 {
		extra = fmt.Sprintf(", %d first", d.interim)
	}
	if d.status != http.StatusCreated {
		extra += fmt.Sprintf(", status %d", d.status)
	}
	return fmt.Sprintf("%s, %s, kept %t, %s by %s%s, %s body %t key %t",
		d.protocol, d.retrial.name, d.kept, d.stage, d.manner, extra, d.method, d.body != "", d.key)
}

// An ending is what a caller is told.
type ending string

const (
	toldAnswer      ending = "the upstream's answer"
	toldUnreachable ending = "502 upstream-unreachable, not sent"
	toldUnknown     ending = "502 outcome-unknown"
	toldTimeout     ending = "504 outcome-unknown"
	toldBrokenOff   ending = "an answer that breaks off"
)

// states are the states that a transaction may have after what its caller was told.
var states = map[ending]stepup.State{
	toldAnswer: stepup.StateAnswered, toldUnreachable: stepup.StateFailed, toldUnknown: stepup.StateInDoubt,
	toldTimeout: stepup.StateInDoubt, toldBrokenOff: stepup.StateInDoubt,
}

// wants are the endings that are true. There is more than one where it is a matter
// of timing whether the transport finds out before it writes.
func (d death) wants() []ending {
	first := toldUnreachable
	if d.retrial.second == lives {
		first = toldAnswer // by the second upstream
	}
	switch {
	case d.status >= 500 && d.retrial.byStatus:
		return []ending{toldUnknown} // the proxy has thrown the answer away
	case d.manner == byLeave:
		return []ending{toldAnswer, toldUnknown}
	case d.stage == healthy:
		return []ending{toldAnswer}
	case d.manner == byHang && d.retrial.second == none:
		return []ending{toldTimeout}
	case d.manner == byHang:
		// A proxy that would try again is stopped, and that is what it reports.
		return []ending{toldTimeout, toldUnknown}
	case d.stage == beforeAccept && !d.kept:
		return []ending{first}
	case d.stage == beforeAccept:
		return []ending{first, toldUnknown}
	case d.stage == accepted:
		// Not all proxies take this for a failure to connect.
		return []ending{first, toldUnreachable, toldUnknown}
	case d.stage >= afterAnswerHeaders:
		return []ending{toldBrokenOff}
	}
	return []ending{toldUnknown}
}

// An afterlife runs the matrix.
type afterlife struct {
	t    *testing.T
	site *site
	tls  *tls.Config
	end  context.Context
	next atomic.Int64

	mu   sync.Mutex
	told map[string]ending // by the path of a case
	name map[string]string
}

// Design 3.3, INV-1, threats F1 to F3, G19: whatever is behind the gate and however
// it dies, a request is sent once, and its caller is told the truth.
func TestDeaths(t *testing.T) {
	began := time.Now()
	op := newFakeOP(t)
	op.setDecision(approve)
	var body strings.Builder
	for _, protocol := range []string{"h1", "h2", "h2c"} {
		for _, r := range retrials() {
			body.WriteString(r.site(protocol))
		}
	}
	s := newSite(t, memoryStore)
	build := s.build
	s.build = func(body string) string {
		return strings.Replace(build(body), "level ERROR", "output discard", 1)
	}
	err := s.load(fmt.Sprintf("@gated not header X-Warm *\nciba @gated %s {\n\tcustomer alice\n\tmessage Transfer\n\tlimit off\n}\n%s", op.URL, body.String()))
	if err != nil {
		t.Fatal(err)
	}
	end, stop := context.WithCancel(t.Context())
	defer stop()
	a := &afterlife{t: t, site: s, tls: mortalTLS(t), end: end, told: make(map[string]ending), name: make(map[string]string)}
	all := deaths()
	a.runAll(all)
	a.compareJournal()
	counts := make(map[ending]int)
	for _, told := range a.told {
		counts[told]++
	}
	t.Logf("%d cases in %s: %v", len(all), time.Since(began).Round(time.Millisecond), counts)
}

// runAll runs all cases, many at once: what hangs must not keep the others waiting.
func (a *afterlife) runAll(all []death) {
	cases := make(chan death)
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for d := range cases {
				a.run(d)
			}
		})
	}
	for _, d := range all {
		cases <- d
	}
	close(cases)
	workers.Wait()
}

// run plays one case.
func (a *afterlife) run(d death) {
	end, stop := context.WithCancel(a.end)
	defer stop()
	var config *tls.Config
	if d.protocol == "h2" {
		config = a.tls
	}
	number := a.next.Add(1)
	first, err := newMortal(end, 2*number, d.protocol != "h1", config)
	if err != nil {
		a.t.Errorf("%s: %v", d, err)
		return
	}
	defer first.stop()
	second, err := newMortal(end, 2*number+1, d.protocol != "h1", config)
	if err != nil {
		a.t.Errorf("%s: %v", d, err)
		return
	}
	defer second.stop()
	defer stop() // before the others, which wait for what hangs
	header := http.Header{"X-First": {first.Addr().String()}, "X-Second": {second.Addr().String()}}
	path := fmt.Sprintf("%s/%d", d.retrial.path(d.protocol), number)
	if d.kept {
		err := a.warm(d, path, first)
		if err == nil && d.retrial.second == dies {
			err = a.warm(d, path, second)
		}
		if err != nil {
			a.t.Errorf("%s: warming up: %v", d, err)
			return
		}
	}
	first.arm(d.script)
	other := d.script
	if d.retrial.second == lives {
		other = script{stage: healthy, status: http.StatusCreated}
	}
	second.arm(other)

	if d.key {
		header.Set("Idempotency-Key", path)
	}
	got := a.site.do(d.method, path, d.body, header)
	told, err := d.told(got)
	if err != nil {
		a.t.Errorf("%s: %v: %+v", d, err, got)
		return
	}
	a.mu.Lock()
	a.told[path], a.name[path] = told, d.String()
	a.mu.Unlock()
	if !slices.Contains(d.wants(), told) {
		a.t.Errorf("%s: the caller was told %q: %+v", d, told, got)
	}
	a.count(d, told, first, second)
	if d.key && told != toldUnreachable {
		again := a.site.do(d.method, path, d.body, header)
		if again.header.Get("Idempotency-Replayed") != "true" && !strings.Contains(again.body, ":already-sent") {
			a.t.Errorf("%s: the repetition got %+v", d, again)
		}
		a.count(d, told, first, second)
	}
}

// warm makes the proxy keep connections to an upstream.
func (a *afterlife) warm(d death, path string, m *mortal) error {
	n := 2 // with HTTP/1.1 the second is at hand for another attempt at once
	if d.protocol != "h1" {
		n = 1
	}
	m.expect(n)
	header := http.Header{"X-Warm": {"1"}, "X-First": {m.Addr().String()}, "X-Second": {m.Addr().String()}}
	answers := make(chan answer, n)
	for range n {
		go func() { answers <- a.site.do(http.MethodGet, path, "", header) }()
	}
	for range n {
		got := <-answers
		if got.err != nil || got.body != "ok" {
			return cmp.Or(got.err, fmt.Errorf("%d %s", got.status, got.body))
		}
	}
	return nil
}

// told is what the answer says.
func (d death) told(got answer) (ending, error) {
	if got.err != nil {
		return toldBrokenOff, nil
	}
	if got.header.Get("Content-Type") == mortalType {
		complete := got.body == mortalBody && (got.status == d.status || got.status == http.StatusCreated)
		if !complete {
			return "", fmt.Errorf("an incomplete answer of the upstream's went through: %w", io.ErrUnexpectedEOF)
		}
		return toldAnswer, nil
	}
	for told, want := range map[ending]struct {
		status    int
		kind      string
		forwarded string
		state     string
		retry     bool
	}{
		toldUnreachable: {502, "upstream-unreachable", "false", "failed", true},
		toldUnknown:     {502, "outcome-unknown", `"unknown"`, "in_doubt", false},
		toldTimeout:     {504, "outcome-unknown", `"unknown"`, "in_doubt", false},
	} {
		ok := got.status == want.status && got.header.Get("Content-Type") == "application/problem+json" &&
			strings.Contains(got.body, ":"+want.kind+`"`) && strings.Contains(got.body, `"forwarded":`+want.forwarded) &&
			strings.Contains(got.body, `"state":"`+want.state+`"`) && (got.header.Get("Retry-After") != "") == want.retry &&
			got.header.Get("Cache-Control") == "no-store"
		if ok {
			return told, nil
		}
	}
	return "", fmt.Errorf("no ending of the matrix")
}

// count checks what has reached the upstreams. What was sent may still be on its
// way to an upstream of which nobody expects an answer any more.
func (a *afterlife) count(d death, told ending, first, second *mortal) {
	touched, complete := 0, 0
	for range 500 {
		touched, complete = first.counts()
		touchedToo, completeToo := second.counts()
		touched, complete = touched+touchedToo, complete+completeToo
		if touched != 0 || told == toldUnreachable || d.stage <= accepted || d.manner == byLeave {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	ok := touched <= 1
	switch {
	case told == toldUnreachable:
		ok = touched == 0
	case told == toldAnswer:
		ok = touched == 1 && complete == 1
	case d.stage > accepted && d.manner != byLeave:
		ok = touched == 1 // or this proves nothing
	}
	if !ok {
		a.t.Errorf("%s: %d requests have come, %d of them in full, and the caller was told %q", d, touched, complete, told)
	}
}

// compareJournal compares what callers were told with what operators see.
func (a *afterlife) compareJournal() {
	a.t.Helper()
	found := make(map[string]stepup.State)
	for _, engine := range allEngines() {
		for _, state := range []stepup.State{stepup.StateAnswered, stepup.StateFailed, stepup.StateInDoubt} {
			after := ""
			for {
				page, err := engine.Journal().List(a.t.Context(), state, after, 1000)
				if err != nil {
					a.t.Fatal(err)
				}
				for _, tx := range page {
					found[tx.Target], after = state, tx.ID
				}
				if len(page) < 1000 {
					break
				}
			}
		}
	}
	for path, told := range a.told {
		if found[path] != states[told] {
			a.t.Errorf("%s: the caller was told %q, the journal says %q", a.name[path], told, found[path])
		}
	}
}
