package interop_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyciba/gateway/caddyciba/porttest"
)

// silence is how long a client that has refused an answer is watched.
const silence = 5 * time.Second

// TestClientConformance plays the modules of fapi-ciba-id1-client-test-plan, profile
// plain_fapi, against the gateway as an operator configures it: 22 modules with
// poll and 19 with ping, for private_key_jwt and for mtls. A module is started by
// one request to the gateway, and done when that is answered and the resource has
// been called, or, where the answer had to be refused, nothing more was called for
// five seconds.
func TestClientConformance(t *testing.T) {
	op := newSuiteOP(t, newCredentials(t))
	addr := porttest.Reserve(t)
	var providers, routes strings.Builder
	counts := make(map[string]int)
	for _, method := range []string{"private_key_jwt", "mtls"} {
		for _, mode := range []string{"poll", "ping"} {
			for _, m := range modules {
				if m.only != "" && m.only != mode {
					continue
				}
				counts[mode]++
				r := &run{
					op: op, module: m, method: method, mode: mode, jtis: make(map[string]bool),
					alias: strings.ReplaceAll(method, "_", "-") + "." + mode + "." + m.name,
				}
				r.notify = "http://" + addr + "/.ciba/ping/" + r.alias
				op.runs[r.alias] = r
				providers.WriteString(r.provider())
				routes.WriteString(r.route())
			}
		}
	}
	if counts["poll"] != 2*22 || counts["ping"] != 2*19 {
		t.Errorf("the plan has %d modules with poll and %d with ping", counts["poll"]/2, counts["ping"]/2)
	}
	startCaddy(t, "ciba {\n\tstore memory\n"+providers.String()+"}",
		fmt.Sprintf("http://%s {\n\tciba_notify\n%s}\n", addr, routes.String()))
	// All are played at once, as most of their time is waiting.
	outcomes := make(map[string]<-chan outcome)
	for alias, r := range op.runs {
		outcomes[alias] = r.play("http://" + addr + "/trigger/" + alias)
	}
	for _, alias := range slices.Sorted(maps.Keys(op.runs)) {
		r := op.runs[alias]
		method, _, _ := strings.Cut(alias, ".")
		t.Run(method+"/"+r.mode+"/fapi-ciba-id1-client-"+r.module.name, func(t *testing.T) {
			r.judge(t, <-outcomes[alias])
		})
	}
}

// provider is what an operator writes for one registration.
func (r *run) provider() string {
	known := r.op.known
	auth := "client_key {file." + known.path("client.jwk") + "}\n\t\t\tsigned_requests PS256"
	if r.method == "mtls" {
		auth = "client_auth tls_client_auth\n\t\t\tsigned_requests PS256 {file." + known.path("client.jwk") + "}"
	}
	return fmt.Sprintf(`
		provider %s {
			issuer %s
			client_id %s
			%s
			client_cert %s %s
			sender_constraint mtls
			trust_pool file %s
			delivery %s
			profile fapi_ciba
		}
`, r.alias, r.issuer(), clientID, auth, known.path("client.pem"), known.path("client-key.pem"), known.path("ca.pem"), r.mode)
}

// route is what an operator writes for one protected path.
func (r *run) route() string {
	known := r.op.known
	return fmt.Sprintf(`
	handle /trigger/%s {
		ciba %s {
			customer alice
			message "Show accounts"
			scope openid accounts
		}
		rewrite /test-mtls/a/%s/open-banking/v1.1/accounts
		reverse_proxy %s {
			header_up Host {upstream_hostport}
			transport http {
				tls_client_auth %s %s
				tls_trust_pool file %s
			}
		}
	}
`, r.alias, r.alias, r.alias, r.op.mtls.URL, known.path("client.pem"), known.path("client-key.pem"), known.path("ca.pem"))
}

// An outcome is what the caller of a run got.
type outcome struct {
	status int
	body   []byte
	ended  time.Time
	err    error
}

// play triggers the run, and waits until it is over.
func (r *run) play(target string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(target)
		if err != nil {
			done <- outcome{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		o := outcome{status: resp.StatusCode, body: body, ended: time.Now(), err: err}
		if r.module.status != 200 {
			time.Sleep(silence)
		}
		done <- o
	}()
	return done
}

// judge compares a run with what its module demands.
func (r *run) judge(t *testing.T, o outcome) {
	if o.err != nil {
		t.Fatal(o.err)
	}
	var problem struct{ Type string }
	_ = json.Unmarshal(o.body, &problem)
	if o.status != r.module.status || !strings.HasSuffix(problem.Type, r.module.problem) {
		t.Errorf("the caller got %d: %s", o.status, o.body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, mistake := range r.mistakes {
		t.Error(mistake)
	}
	wanted := 0
	if r.module.status == 200 {
		wanted = 1
	} else if r.lastCall.After(o.ended) {
		t.Errorf("the gateway called again %s after its answer", r.lastCall.Sub(o.ended))
	}
	if r.resources != wanted {
		t.Errorf("the resource was called %d times, want %d", r.resources, wanted)
	}
	if r.started != 1 {
		t.Errorf("the request was made %d times", r.started)
	}
	if r.module.polled != 0 && len(r.polls) > r.module.polled {
		t.Errorf("%d polls, the last one to take is %d", len(r.polls), r.module.polled)
	}
	if r.mode == "ping" && !r.module.silent {
		want := http.StatusNoContent
		if r.module.pingToken != "" {
			want = http.StatusUnauthorized
		}
		if r.pingCode != want {
			t.Errorf("the ping was answered by %d, want %d", r.pingCode, want)
		}
	}
}
