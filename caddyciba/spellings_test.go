package caddyciba

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
)

// spellings reads a list of targets, one a line, as Go escapes.
func spellings(t *testing.T, file string) []string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, text)
	}
	return list
}

// guards are the ways in which operators say which requests a gate is for, and what
// may stand around it. {gate} is the gate without its matcher, {proxy} the upstream.
var guards = map[string]string{
	"path":              "@pay path /p/transfers*\nciba @pay {gate}\n{proxy}",
	"path_regexp":       "@pay path_regexp ^/p/transfers\nciba @pay {gate}\n{proxy}",
	"expression":        "@pay `path('/p/transfers*') && method('POST')`\nciba @pay {gate}\n{proxy}",
	"method":            "@pay method POST PUT PATCH DELETE\nciba @pay {gate}\n{proxy}",
	"not path":          "@pay not path /health /public/*\nciba @pay {gate}\n{proxy}",
	"handle":            "ciba_strict_target\nhandle /p/* {\n\tciba /p/transfers* {gate}\n\t{proxy}\n}\nhandle {\n\t{proxy}\n}",
	"handle_path":       "ciba_strict_target\nhandle_path /p/* {\n\tciba /transfers* {gate}\n\t{proxy}\n}\nhandle {\n\t{proxy}\n}",
	"route":             "ciba_strict_target\nroute /p/* {\n\tciba /p/transfers* {gate}\n\t{proxy}\n}\n{proxy}",
	"uri strip_prefix":  "uri strip_prefix /p\nciba /transfers* {gate}\n{proxy}",
	"rewrite before":    "rewrite /old* /p/transfers\nciba /p/transfers* {gate}\n{proxy}",
	"rewrite behind":    "ciba_strict_target\nroute {\n\tciba /p/transfers* {gate}\n\trewrite * /v2{uri}\n\t{proxy}\n}",
	"everything, twice": "ciba /p/transfers* {gate}\nciba {gate}\n{proxy}",
}

// Threat T6, 300 spellings: whatever of the check's list of targets is sent, as it
// stands, nothing reaches the upstream that was not asked about: over HTTP/1.1 and
// HTTP/2, whatever says which requests the gate is for.
func TestSpellingsThroughCaddy(t *testing.T) {
	targets := spellings(t, "stepup/testdata/target/refused.txt")
	if len(targets) < 300 {
		t.Fatalf("only %d targets", len(targets))
	}
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(deny)
	s := newSite(t, h2cServer+memoryStore)
	addrs := make(map[string]string)
	build := s.build
	s.build = func(string) string {
		all := build("respond 404")
		for kind, body := range guards {
			addrs[kind] = freeAddr(t)
			body = strings.NewReplacer("{gate}", op.URL+" {\n\tcustomer alice\n\tmessage Pay\n\tlimit off\n}", "{proxy}", "reverse_proxy "+b.addr()).Replace(body)
			all += fmt.Sprintf("http://%s {\n%s\n}\n", addrs[kind], body)
		}
		return all
	}
	err := s.load("")
	if err != nil {
		t.Fatal(err)
	}
	for kind, addr := range addrs {
		t.Run(kind, func(t *testing.T) {
			one := &site{t: t, addr: addr}
			wire := dialH2(t, addr)
			for _, target := range targets {
				before := len(b.received())
				_ = one.raw(advisory{target: target}.request(one))
				over := wire.exchange(h2Fields(addr, ":path="+target), transfer)
				if over.err != nil {
					wire = dialH2(t, addr)
				}
				for _, r := range b.received()[before:] {
					// A rewrite in front of the gate may have cleaned what it is not for.
					sent, err := url.PathUnescape(r.target)
					if err != nil || strings.HasPrefix(path.Clean(strings.ToLower(strings.TrimPrefix(sent, "/p"))), "/transfers") {
						t.Errorf("%q: the upstream got %s %s", target, r.method, r.target)
					}
				}
			}
			// The gate is there, and so is the upstream.
			target := "/p/transfers"
			if got := one.raw(advisory{target: target}.request(one)); got.status != 403 {
				t.Errorf("%s: %+v", target, got)
			}
		})
	}
}

// CVE-2026-27588: with more than a hundred hosts Caddy's matcher compared them in
// another way, which knew no capitals. CVE-2026-48794: a host in capitals skipped a
// rule. No spelling of a host passes a gate that is for this host, be it the site's or
// the matcher's of a site for all hosts.
func TestHostSpellings(t *testing.T) {
	hosts := spellings(t, "testdata/badinput/hosts.txt")
	for name, c := range map[string]struct {
		matcher string
		hosts   func(port string) []string
	}{
		"hundred hosts": {"", func(port string) []string {
			list := []string{"http://bank.example:" + port}
			for i := range 101 {
				list = append(list, fmt.Sprintf("http://bank%d.example:%s", i, port))
			}
			return list
		}},
		"matcher": {"@bank", func(port string) []string { return []string{"http://:" + port} }},
	} {
		t.Run(name, func(t *testing.T) {
			op, b := newFakeOP(t), newBank(t)
			op.setDecision(deny)
			s := newSite(t, memoryStore)
			_, port, _ := strings.Cut(s.addr, ":")
			build := s.build
			s.build = func(body string) string {
				return strings.Replace(build(body), "http://"+s.addr, strings.Join(c.hosts(port), ", "), 1)
			}
			err := s.load(fmt.Sprintf("@bank host bank.example\nciba %s %s {\n\tcustomer alice\n\tmessage Pay\n\tlimit off\n}\nreverse_proxy %s", c.matcher, op.URL, b.addr()))
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			for _, host := range hosts {
				host = strings.ReplaceAll(host, "{port}", port)
				got := s.raw(advisory{host: host}.request(s))
				if got.status == 403 {
					asked++
				}
				if n := len(b.received()); n > 0 {
					t.Fatalf("%q: %+v, the upstream got %+v", host, got, b.received())
				}
			}
			if asked < 5 {
				t.Errorf("only %d spellings were asked about", asked)
			}
		})
	}
}
