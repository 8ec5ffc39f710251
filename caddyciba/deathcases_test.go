package caddyciba

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(new(inTurn)) }

// inTurn is a policy by which reverse_proxy takes one upstream after the other for
// each request, so that tests know which one is the first. The policies of Caddy's
// own count over all requests.
type inTurn struct{}

func (*inTurn) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.in_turn",
		New: func() caddy.Module { return new(inTurn) },
	}
}

func (*inTurn) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*inTurn) Select(pool reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	turn, _ := caddyhttp.GetVar(r.Context(), "turn").(int)
	caddyhttp.SetVar(r.Context(), "turn", turn+1)
	return pool[turn%len(pool)]
}

// A company is what the second upstream is like.
type company int

const (
	none  company = iota // there is one upstream
	lives                // the second one answers
	dies                 // the second one dies as the first does
)

// A retrial is what an operator may have set up behind the gate.
type retrial struct {
	name     string
	block    string // options of reverse_proxy
	second   company
	noReuse  bool // connections are used once
	byStatus bool // another upstream is tried after an answer
	brief    bool // an answer must begin soon
	shapes   []deathShape
}

const (
	retryAll  = "lb_try_interval 5ms\nlb_retry_match {\nmethod GET POST PUT PATCH DELETE\n}\n"
	retryTurn = "lb_policy in_turn\nlb_retries 3\n"
	buffers   = "request_buffers 64KiB\n"
)

func retrials() []retrial {
	all := deathShapes()
	few := []deathShape{all[1], all[5]}
	return []retrial{
		{name: "plain", shapes: all},
		{name: "lb_retries", block: retryTurn, second: lives, shapes: few},
		{name: "lb_retry_match", block: retryTurn + retryAll, second: lives, shapes: few},
		{name: "request_buffers", block: buffers + retryTurn + retryAll, second: lives, shapes: all},
		{name: "round_robin", block: buffers + "lb_policy round_robin\nlb_try_duration 100ms\n" + retryAll, second: dies, shapes: few},
		{name: "status", block: buffers + retryTurn + "lb_retry_match {\nexpression `{rp.status_code} >= 500`\n}\n", second: lives, byStatus: true, shapes: few},
		{name: "keepalive_off", block: buffers + retryTurn + retryAll, second: lives, noReuse: true, shapes: few},
		{name: "plain_brief", brief: true, shapes: few},
		{name: "request_buffers_brief", block: buffers + retryTurn + retryAll, second: lives, brief: true, shapes: few},
	}
}

// site is the part of the site for one kind of upstream. Where the upstreams are is
// in the headers of each request.
func (r retrial) site(protocol string) string {
	transport := map[string]string{"h1": "", "h2": "tls_insecure_skip_verify\n", "h2c": "versions h2c\n"}[protocol]
	if r.noReuse {
		transport += "keepalive off\n"
	}
	if r.brief {
		transport += "response_header_timeout 500ms\n"
	}
	upstreams := "{header.X-First} {header.X-Second}"
	if r.second == none {
		upstreams = "{header.X-First}"
	}
	return fmt.Sprintf("reverse_proxy %s/* %s {\n%stransport http {\n%s}\n}\n", r.path(protocol), upstreams, r.block, transport)
}

func (r retrial) path(protocol string) string { return "/" + protocol + "/" + r.name }

// A deathShape is a request as far as it matters for whether a transport sends it
// again by itself.
type deathShape struct {
	method, body string
	key          bool
}

func deathShapes() []deathShape {
	body := transfer + strings.Repeat(" ", 2048)
	return []deathShape{
		{http.MethodPost, body, false}, {http.MethodPost, body, true}, {http.MethodPost, "", false},
		{http.MethodPost, "", true}, {http.MethodDelete, "", false}, {http.MethodGet, "", false},
	}
}

// deaths are all cases that can happen; with the race detector some of each kind.
func deaths() []death {
	var all []death
	for _, protocol := range []string{"h1", "h2", "h2c"} {
		for _, r := range retrials() {
			for _, kept := range []bool{false, true} {
				for _, shape := range r.shapes {
					for _, s := range scripts(protocol) {
						d := death{protocol: protocol, retrial: r, kept: kept, script: s, method: shape.method, body: shape.body, key: shape.key}
						if d.possible() {
							all = append(all, d)
						}
					}
				}
			}
		}
	}
	if !racing {
		return all
	}
	var some []death
	for i := 0; i < len(all); i += 7 {
		some = append(some, all[i])
	}
	return some
}

func (d death) possible() bool {
	switch {
	case d.protocol == "h2c" && len(d.retrial.shapes) < len(deathShapes()),
		d.kept && d.retrial.noReuse,
		d.retrial.brief != (d.manner == byHang),
		d.stage == inBody && d.body == "",
		d.manner == byLeave && !d.kept:
		return false
	case d.status != http.StatusCreated:
		return d.retrial.byStatus || d.retrial.name == "plain"
	}
	return true
}

// scripts are all deaths that an upstream can die by itself.
func scripts(protocol string) []script {
	all := []script{{stage: healthy, status: 201}, {stage: healthy, status: 503}}
	for s := beforeAccept; s < healthy; s++ {
		all = append(all, script{stage: s, manner: byReset, status: 201})
		if s != beforeAccept {
			all = append(all, script{stage: s, manner: byClose, status: 201})
		}
	}
	for _, interim := range []int{http.StatusContinue, http.StatusEarlyHints} {
		for _, s := range []stage{afterBody, inStatus, afterAnswerHeaders, healthy} {
			all = append(all, script{stage: s, manner: byReset, interim: interim, status: 201})
		}
		all = append(all, script{stage: afterBody, manner: byHang, interim: interim, status: 201})
	}
	// What hangs takes its time, so these are the places that differ.
	for _, s := range []stage{inHeaders, afterBody, inStatus, inAnswerHeaders} {
		all = append(all, script{stage: s, manner: byHang, status: 201})
	}
	if protocol == "h1" {
		return append(all, script{stage: accepted, manner: byHang, status: 201})
	}
	for _, how := range []manner{byRefused, byCancel, byInternal, byGoAway0, byGoAway} {
		for _, s := range []stage{afterHeaders, afterBody, afterAnswerHeaders} {
			all = append(all, script{stage: s, manner: how, status: 201})
		}
	}
	return append(all, script{stage: healthy, manner: byLeave, status: 201})
}
