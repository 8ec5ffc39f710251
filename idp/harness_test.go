package idp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/argon2"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// The customer and the client of all tests.
const (
	annaPassword  = "correct horse"
	gatewaySecret = "a secret of more than 22 bytes"
)

// hashOf returns the argon2id hash of a password, at the least cost that is
// accepted.
func hashOf(password string) string {
	salt := []byte("0123456789abcdef")
	key := argon2.IDKey([]byte(password), salt, 1, minArgon2Memory, 1, 32)
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=1,p=1$%s$%s", minArgon2Memory,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

func hexOf(hash provider.SecretHash) string { return hex.EncodeToString(hash[:]) }

func parseDuration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := caddy.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// noStore is a store for tests that do not get as far as using it.
type noStore struct{ store.Store }

// server is Caddy in this process with a config in which placeholders of
// fmt-style, such as <port>, have been replaced.
type server struct {
	t      *testing.T
	port   string
	client *http.Client
}

// newServer finds a free port and gives Caddy directories of its own.
func newServer(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("HOME", dir)
	t.Setenv("IDP_TEST_SECRET", gatewaySecret)
	t.Setenv("IDP_TEST_PASSWORD", hashOf(annaPassword))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	err = listener.Close()
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	s := &server{t: t, port: port, client: &http.Client{
		Transport:     transport,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		err := caddy.Stop()
		if err != nil {
			t.Error(err)
		}
	})
	return s
}

// adapt turns a Caddyfile, in which <port> stands for the server's port, into
// JSON.
func (s *server) adapt(caddyfile string) []byte {
	s.t.Helper()
	return s.adaptWith("", caddyfile)
}

// adaptWith is adapt with additional global options.
func (s *server) adaptWith(options, caddyfile string) []byte {
	s.t.Helper()
	caddyfile = "{\n\tadmin off\n\tpersist_config off\n\tgrace_period 5s\n" + options + "}\n" + strings.ReplaceAll(caddyfile, "<port>", s.port)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return config
}

// load loads or reloads a Caddyfile.
func (s *server) load(caddyfile string) {
	s.t.Helper()
	s.loadWith("", caddyfile)
}

// loadWith is load with additional global options.
func (s *server) loadWith(options, caddyfile string) {
	s.t.Helper()
	err := caddy.Load(s.adaptWith(options, caddyfile), true)
	if err != nil {
		s.t.Fatal(err)
	}
}

// url returns the address of a path at localhost.
func (s *server) url(path string) string { return "http://localhost:" + s.port + path }

// do sends a request and returns the answer with its body.
//
// While Caddy replaces a config, two sockets listen on one port, and the kernel
// drops the connections that wait at the one that is closed. Such a connection
// has not reached any handler, so that another is made.
func (s *server) do(r *http.Request) (*http.Response, []byte) {
	s.t.Helper()
	// The client writes its cookies into the request that it is given, and two
	// sessions in one request are none.
	resp, err := s.client.Do(r.Clone(r.Context()))
	for try := 0; try < 5 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)); try++ {
		if r.GetBody != nil {
			body, bodyErr := r.GetBody()
			if bodyErr != nil {
				s.t.Fatal(bodyErr)
			}
			r.Body = body
		}
		resp, err = s.client.Do(r.Clone(r.Context()))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, body
}

// get fetches a URL, which must answer with 200.
func (s *server) get(address string) []byte {
	s.t.Helper()
	resp, body := s.do(s.request(http.MethodGet, address, nil))
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s: %s", address, resp.Status, body)
	}
	return body
}

// post sends a form as the client gateway, and decodes the JSON of the answer.
func (s *server) post(address string, form url.Values) (int, map[string]any) {
	s.t.Helper()
	r := s.request(http.MethodPost, address, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("gateway", url.QueryEscape(gatewaySecret))
	resp, body := s.do(r)
	answer := make(map[string]any)
	err := json.Unmarshal(body, &answer)
	if err != nil {
		s.t.Fatalf("POST %s: %s: %q is no JSON: %v", address, resp.Status, body, err)
	}
	return resp.StatusCode, answer
}

func (s *server) request(method, address string, body io.Reader) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, address, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// start starts an authentication request for anna at the provider with the
// given issuer, and returns its auth_req_id.
func (s *server) start(issuer string, scopes ...string) string {
	s.t.Helper()
	status, answer := s.post(issuer+"/backchannel-authentication", url.Values{
		"scope":           {strings.Join(append([]string{"openid"}, scopes...), " ")},
		"login_hint":      {"anna"},
		"binding_message": {"Pay 10 EUR"},
	})
	id, _ := answer["auth_req_id"].(string)
	if status != http.StatusOK || id == "" {
		s.t.Fatalf("starting: %d %v", status, answer)
	}
	return id
}

// poll asks for the tokens of a request.
func (s *server) poll(issuer, id string) (int, map[string]any) {
	s.t.Helper()
	return s.post(issuer+"/token", url.Values{
		"grant_type":  {provider.GrantCIBA},
		"auth_req_id": {id},
	})
}

// instance returns the only instance with the issuer.
func (s *server) instance(issuer string) *instance {
	s.t.Helper()
	var found []*instance
	instances.Range(func(_, value any) bool {
		in := value.(*instance)
		if in.issuer == issuer {
			found = append(found, in)
		}
		return true
	})
	if len(found) != 1 {
		s.t.Fatalf("%d instances have the issuer %s", len(found), issuer)
	}
	return found[0]
}

// approve approves the only request that waits for anna.
func (s *server) approve(issuer string) {
	s.t.Helper()
	in := s.instance(issuer)
	pending, err := in.provider.Pending(s.t.Context(), "anna")
	if err != nil || len(pending) != 1 {
		s.t.Fatalf("%d requests wait for anna: %v", len(pending), err)
	}
	var scopes []string
	for _, scope := range pending[0].Scopes {
		scopes = append(scopes, scope.Name)
	}
	err = in.provider.Approve(s.t.Context(), provider.Approval{
		Subject: "anna", RequestID: pending[0].ID, Scopes: scopes, AuthTime: time.Now(), AMR: []string{"pwd"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// claims decodes the payload of a JWT without looking at its signature.
func (s *server) claims(jwt any) map[string]any {
	s.t.Helper()
	text, _ := jwt.(string)
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		s.t.Fatalf("%v is no JWT", jwt)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		s.t.Fatal(err)
	}
	var claims map[string]any
	err = json.NewDecoder(bytes.NewReader(payload)).Decode(&claims)
	if err != nil {
		s.t.Fatal(err)
	}
	return claims
}

// counted adds up the counters of a vector that have all of the given label values.
func counted(t *testing.T, vector prometheus.Collector, values ...string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	err := registry.Register(vector)
	if err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			found := 0
			for _, label := range metric.GetLabel() {
				if slices.Contains(values, label.GetValue()) {
					found++
				}
			}
			if found == len(values) {
				total += metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	return total
}
