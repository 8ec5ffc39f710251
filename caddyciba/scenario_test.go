package caddyciba

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A scenario is a block of testdata/badinput/scenarios.txt: a row of the threat
// catalogue that takes more than one request, or a certain upstream or customer.
type scenario struct {
	title string // begins with the id
	lines []string
}

// readScenarios reads a file of blocks that begin with "== ID title".
func readScenarios(t *testing.T, file string) []scenario {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []scenario
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, "\n")
		title, begins := strings.CutPrefix(line, "== ")
		switch {
		case begins:
			list = append(list, scenario{title: title})
		case len(list) == 0 || line == "" || strings.HasPrefix(line, "# "):
		default:
			last := &list[len(list)-1]
			last.lines = append(last.lines, line)
		}
	}
	return list
}

// play is one scenario that runs.
type play struct {
	*testing.T
	s     *site
	op    *fakeOP
	b     *bank
	asked int // before it began
	sent  int

	request  []string
	raw      bool
	end      bool
	last     answer
	base     string // of the paths of this scenario
	bodies   map[string]string
	pending  map[string]<-chan answer
	location string
}

// The rows G and S of the threat catalogue that one request cannot show. Each
// scenario has a gate of its own, for the paths below /NUMBER/.
func TestScenarios(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	scenarios := readScenarios(t, "testdata/badinput/scenarios.txt")
	var sites strings.Builder
	for i, sc := range scenarios {
		upstream := b.addr()
		if slices.Contains(sc.lines, "upstream unreachable") {
			upstream = "127.0.0.1:1" // where nothing listens
		}
		fmt.Fprintf(&sites, "ciba /%d/* %s {\n%s}\nreverse_proxy /%d/* %s\n", i, op.URL, sc.options(), i, upstream)
	}
	s := startSite(t, memoryStore, sites.String())
	for i, sc := range scenarios {
		t.Run(sc.title, func(t *testing.T) {
			op.setDecision(pending)
			b.mu.Lock()
			b.handle = nil
			b.mu.Unlock()
			p := &play{
				T: t, s: s, op: op, b: b, asked: len(op.started()), sent: len(b.received()), base: fmt.Sprintf("/%d", i),
				bodies: make(map[string]string), pending: make(map[string]<-chan answer),
			}
			for _, line := range sc.lines {
				p.step(line)
			}
			for name, answer := range p.pending {
				t.Errorf("nobody has waited for %s, which is %+v", name, <-answer)
			}
		})
	}
}

// options are those of the scenario's gate.
func (sc scenario) options() string {
	options := map[string]string{"customer": "alice", "message": `"Pay {ciba.body.amount}"`, "hold": "10s", "limit": "off"}
	for _, line := range sc.lines {
		option, ok := strings.CutPrefix(line, "gate ")
		if ok {
			name, value, _ := strings.Cut(option, " ")
			options[name] = value
		}
	}
	var text strings.Builder
	for name, value := range options {
		fmt.Fprintf(&text, "\t%s %s\n", name, value)
	}
	return text.String()
}

// step does what one line says.
func (p *play) step(line string) {
	p.Helper()
	word, argument, _ := strings.Cut(line, " ")
	switch word {
	case "gate": // read before
	case ">": // a line of a request
		p.request = append(p.request, p.fill(argument))
	case "raw": // nothing is added to the request
		p.raw = true
	case "halfclose": // nothing comes behind the request
		p.end = true
	case "exhaust": // look at the transaction until that is refused
		for range 200 {
			p.request = []string{"GET " + p.location}
			p.last = p.send()()
			if p.last.status != http.StatusOK {
				break
			}
		}
		p.request = []string{"GET " + p.location}
	case "<": // what must be answered
		p.last = p.send()()
		p.want(argument)
	case "later": // the request is under way
		answered, take := make(chan answer, 1), p.send()
		go func() { answered <- take() }()
		p.pending[argument] = answered
	case "hangup": // the caller does not wait for the answer
		p.hangUp()
	case "answer": // what must be answered to a request that was under way
		name, want, _ := strings.Cut(argument, " ")
		p.last = <-p.pending[name]
		delete(p.pending, name)
		p.want(want)
	case "has": // in the last answer's header
		name, want, _ := strings.Cut(argument, ": ")
		if got := p.last.header.Get(name); !regexp.MustCompile("^(" + p.fill(want) + ")$").MatchString(got) {
			p.Errorf("%s is %q, want %s", name, got, want)
		}
	case "hasnot":
		if got := p.last.header.Values(argument); len(got) > 0 {
			p.Errorf("%s is %q", argument, got)
		}
	case "body": // what the last answer's body must contain
		if !strings.Contains(p.last.body, p.fill(argument)) {
			p.Errorf("body is %q, want %q in it", p.last.body, argument)
		}
	case "lacks":
		if strings.Contains(p.last.body, argument) {
			p.Errorf("body is %q", p.last.body)
		}
	case "closed": // the connection, after the last answer
		if p.last.err != io.EOF {
			p.Errorf("the connection is open, or ended with %v", p.last.err)
		}
	case "save": // the last answer's body, to be compared
		p.bodies[argument] = p.last.body
	case "same":
		if p.last.body != p.bodies[argument] {
			p.Errorf("body is %q, want that of %s: %q", p.last.body, argument, p.bodies[argument])
		}
	case "customer":
		p.op.setDecision(map[string]fakeDecision{"approves": approve, "denies": deny, "expires": expire, "waits": pending}[argument])
	case "upstream":
		p.b.mu.Lock()
		p.b.handle = upstreams[argument]
		p.b.mu.Unlock()
	case "asked":
		p.count("the customer was asked", argument, func() int { return len(p.op.started()) - p.asked })
	case "sent":
		p.count("the upstream got requests", argument, func() int { return len(p.b.received()) - p.sent })
	case "got": // a header of the last request that the upstream got
		name, want, _ := strings.Cut(argument, ": ")
		all := p.b.received()
		if got := strings.Join(all[len(all)-1].header.Values(name), ","); got != p.fill(want) {
			p.Errorf("the upstream got %s %q, want %q", name, got, want)
		}
	default:
		p.Fatalf("unknown line %q", line)
	}
}

// upstreams are the ways in which an upstream behaves badly.
var upstreams = map[string]http.HandlerFunc{
	"dies": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"breaks off": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "booked")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	},
	"redirects 307": redirecting(http.StatusTemporaryRedirect),
	"redirects 308": redirecting(http.StatusPermanentRedirect),
	"says 401": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	},
	"sends hints": func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "booked")
	},
	"floods hints": func(w http.ResponseWriter, _ *http.Request) {
		for range 2000 {
			w.Header().Set("Link", "<"+strings.Repeat("a", 1000)+">")
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.WriteHeader(http.StatusCreated)
	},
}

func redirecting(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://evil.example/transfers")
		w.WriteHeader(status)
	}
}

// count compares a number that may still grow, and must not grow beyond.
func (p *play) count(what, argument string, now func() int) {
	p.Helper()
	want, err := strconv.Atoi(argument)
	if err != nil {
		p.Fatal(err)
	}
	eventually(p.T, what+" "+argument+" times", func() bool { return now() >= want })
	if got := now(); got != want {
		p.Errorf("%s %d times, want %d", what, got, want)
	}
}

// fill puts {location}, {x*100} and {host} in.
func (p *play) fill(text string) string {
	text = strings.NewReplacer("{location}", p.location, "{host}", p.s.addr, "/transfers", p.base+"/transfers").Replace(text)
	return repeat(text)
}

// repeat puts a hundred x in for {x*100}.
func repeat(text string) string {
	return repeated.ReplaceAllStringFunc(text, func(found string) string {
		m := repeated.FindStringSubmatch(found)
		n, _ := strconv.Atoi(m[2])
		return strings.Repeat(m[1], n)
	})
}

var repeated = regexp.MustCompile(`\{(.)\*([0-9]+)\}`)

// wire is the request as it is sent, and its method.
func (p *play) wire() (text, method string) {
	lines, raw := p.request, p.raw
	p.request, p.raw = nil, false
	if len(lines) == 0 {
		p.Fatal("there is no request")
	}
	head, body := lines, ""
	for i, line := range lines {
		if line == "" {
			head, body = lines[:i], strings.Join(lines[i+1:], "\r\n")
			break
		}
	}
	method, _, _ = strings.Cut(head[0], " ")
	if raw {
		return strings.Join(head, "\r\n") + "\r\n\r\n" + body, method
	}
	text = head[0] + " HTTP/1.1\r\nHost: " + p.s.addr + "\r\n"
	fields := strings.Join(head[1:], "\r\n")
	if body != "" && !strings.Contains(fields, "Content-Type:") {
		text += "Content-Type: application/json\r\n"
	}
	if body != "" && !strings.Contains(fields, "Transfer-Encoding:") && !strings.Contains(fields, "Content-Length:") {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if fields != "" {
		text += fields + "\r\n"
	}
	return text + "\r\n" + body, method
}

// dial opens a connection and sends the request.
func (p *play) dial() (net.Conn, string) {
	text, method := p.wire()
	var dialer net.Dialer
	conn, err := dialer.DialContext(p.Context(), "tcp", p.s.addr)
	if err != nil {
		p.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = io.WriteString(conn, text)
	if err == nil && p.end {
		p.end, err = false, conn.(*net.TCPConn).CloseWrite()
	}
	if err != nil {
		p.Fatal(err)
	}
	return conn, method
}

// send sends the request on a connection of its own and returns how to get the
// answer. Its error is io.EOF if the server has closed the connection after it.
func (p *play) send() func() answer {
	conn, method := p.dial()
	return func() answer {
		defer conn.Close()
		in := bufio.NewReader(conn)
		for {
			resp, err := http.ReadResponse(in, &http.Request{Method: method})
			if err != nil {
				return answer{err: err}
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
				continue
			}
			a := answer{status: resp.StatusCode, header: resp.Header, body: string(text), err: err}
			if err == nil && resp.Close {
				_, a.err = in.ReadByte()
			}
			return a
		}
	}
}

// hangUp sends the request, waits until the customer is asked, and closes the
// connection.
func (p *play) hangUp() {
	before := len(p.op.started())
	conn, _ := p.dial()
	eventually(p.T, "the question", func() bool { return len(p.op.started()) > before })
	conn.Close()
}

// want compares the last answer with STATUS [PROBLEM [FORWARDED]].
func (p *play) want(text string) {
	p.Helper()
	if location := p.last.header.Get("Location"); strings.HasPrefix(location, "/.ciba/") {
		p.location = location
	}
	fields := strings.Fields(text)
	status, err := strconv.Atoi(fields[0])
	if err != nil {
		p.Fatal(err)
	}
	if p.last.err != nil && p.last.err != io.EOF && !(len(fields) > 1 && fields[1] == "broken") {
		p.Fatalf("answer ended with %v: %+v", p.last.err, p.last)
	}
	if len(fields) == 1 || fields[1] == "broken" {
		if p.last.status != status || len(fields) > 1 && (p.last.err == nil || p.last.err == io.EOF) {
			p.Errorf("got %+v, want %s", p.last, text)
		}
		return
	}
	a := p.last
	a.err = nil
	var forwarded any = false
	switch {
	case len(fields) > 2 && fields[2] == "true":
		forwarded = true
	case len(fields) > 2:
		forwarded = fields[2]
	}
	a.wantProblem(p.T, status, fields[1], forwarded)
	if strings.Contains(a.body, testClientSecret) || strings.Contains(a.body, "token-of-") {
		p.Errorf("the answer has a secret: %s", a.body)
	}
}
