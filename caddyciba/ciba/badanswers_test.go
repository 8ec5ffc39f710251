package ciba

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// badAnswer is one row of testdata/bad_answers.json: what the provider answers
// at a path, and the code that has to come of it. IDs are those of the
// catalogue of bad inputs.
type badAnswer struct {
	ID, Name, Path, Body, Want string
	Status                     int
	Header                     map[string]string
}

func TestBadAnswers(t *testing.T) {
	data, err := os.ReadFile("testdata/bad_answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []badAnswer
	err = json.Unmarshal(data, &rows)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		t.Run(row.ID+" "+row.Name, func(t *testing.T) {
			c, op := newTestClient(t, nil)
			if row.Status == 0 {
				row.Status = 200
			}
			header := map[string]string{"Content-Type": "application/json"}
			for name, value := range row.Header {
				header[name] = value
			}
			body := strings.ReplaceAll(row.Body, "$ID_TOKEN", forge(testKey, "ES256", nil, op.claims()))
			op.on(row.Path, writes(row.Status, header, body))

			p, err := c.Start(t.Context(), Request{LoginHint: "alice"})
			if row.Path != "/token" {
				wantCode(t, err, row.Want)
				if p != nil {
					t.Fatal("a pending request came back with an error")
				}
				// No customer is asked while no answer could be verified, and nothing
				// that a bad document names is contacted.
				last := op.calls[len(op.calls)-1]
				if last.path != row.Path || len(op.seen(row.Path)) != 1 {
					t.Fatalf("the provider was asked again, at %s", last.path)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tokens, err := c.Poll(t.Context(), p)
			wantCode(t, err, row.Want)
			if tokens != nil {
				t.Fatal("tokens came back with an error")
			}
		})
	}
}

// The rows above would prove nothing if the same client refused good answers.
func TestGoodAnswers(t *testing.T) {
	for name, answer := range map[string]map[string]any{
		"usual":                     {"auth_req_id": testAuthReqID, "expires_in": 120, "interval": 5},
		"no interval":               {"auth_req_id": testAuthReqID, "expires_in": 120},
		"null interval":             {"auth_req_id": testAuthReqID, "expires_in": 120, "interval": nil},
		"more members":              {"auth_req_id": testAuthReqID, "expires_in": 120, "Expires_In": 1, "x": []any{map[string]any{}}},
		"provider with long tokens": {"auth_req_id": strings.Repeat("a", maxAuthReqID), "expires_in": 120},
	} {
		t.Run(name, func(t *testing.T) {
			c, op := newTestClient(t, nil)
			op.on("/backchannel", sends(200, answer))
			p := start(t, c)
			if p.Interval != 5*time.Second || p.ExpiresAt.Sub(p.StartedAt) != 2*time.Minute {
				t.Errorf("interval %s, life %s", p.Interval, p.ExpiresAt.Sub(p.StartedAt))
			}
			tokens, err := c.Poll(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if tokens.AccessToken != testAccess {
				t.Errorf("access token %q", tokens.AccessToken)
			}
		})
	}
}

// A granted lifetime beyond all measure is cut.
func TestStartClampsLifetime(t *testing.T) {
	c, op := newTestClient(t, nil)
	op.on("/backchannel", sends(200, map[string]any{"auth_req_id": "a", "expires_in": 1e9}))
	p := start(t, c)
	if p.ExpiresAt.Sub(p.StartedAt) != maxLifetime {
		t.Errorf("life %s", p.ExpiresAt.Sub(p.StartedAt))
	}
}

// fapi-ciba-id1-client-no-scope-in-token-endpoint-response-test: neither scope
// nor expires_in.
func TestTokensWithoutScope(t *testing.T) {
	c, op := newTestClient(t, nil)
	answer := tokenAnswer(forge(testKey, "ES256", nil, op.claims()))
	delete(answer, "expires_in")
	answer["token_type"] = "bearer"
	op.onPolls(sends(200, answer))
	tokens, err := c.Poll(t.Context(), start(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if tokens.Scope != nil || !tokens.ExpiresAt.IsZero() {
		t.Errorf("scope %q, expiry %s", tokens.Scope, tokens.ExpiresAt)
	}
}

// R02: answers that never end, or are larger than they should be, over a real
// connection and with the client of this package.
func TestOversizedAnswers(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := io.CopyN(z, zeros{}, 10<<20)
	if err != nil {
		t.Fatal(err)
	}
	err = z.Close()
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]http.HandlerFunc{
		"10 MiB": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.CopyN(w, zeros{}, 10<<20)
		},
		"good document with 1 MiB of space behind it": func(w http.ResponseWriter, r *http.Request) {
			sendJSON(w, 200, newFakeOP("http://"+r.Host).metadata())
			_, _ = w.Write(bytes.Repeat([]byte(" "), maxBody))
		},
		"endless chunks": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, err := io.CopyN(w, zeros{}, 64<<10)
				if err != nil {
					return
				}
			}
		},
		"gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		},
	} {
		t.Run("R02 "+name, func(t *testing.T) {
			server := httptest.NewServer(h)
			defer server.Close()
			c, err := NewClient(Config{Issuer: server.URL, ClientID: testClient, Auth: ClientSecretBasic("x")})
			if err != nil {
				t.Fatal(err)
			}
			defer c.http.CloseIdleConnections()
			_, err = c.Discover(t.Context())
			wantCode(t, err, CodeInvalidResponse)
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// A redirect is not followed over a real connection either, and the credentials
// stay where they were sent, also if the caller's client would have followed.
func TestRedirectIsNotFollowed(t *testing.T) {
	var visited bool
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited = true }))
	defer evil.Close()
	op := newFakeOP("")
	server := httptest.NewServer(op)
	defer server.Close()
	op.issuer = server.URL
	op.on("/backchannel", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, evil.URL, http.StatusTemporaryRedirect)
	})
	c, err := NewClient(Config{
		Issuer: server.URL, ClientID: testClient, Auth: ClientSecretBasic("x"), HTTPClient: server.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Start(t.Context(), Request{LoginHint: "alice"})
	wantCode(t, err, CodeInvalidResponse)
	if visited {
		t.Error("the redirect was followed")
	}
}

// The provider's words are kept apart from the text of the error, and can break
// no log line.
func TestDescriptionIsKeptApart(t *testing.T) {
	c, op := newTestClient(t, nil)
	op.onPolls(sends(400, map[string]any{
		"error": "access_denied", "error_description": "line\r\n\"quote\" \\ \u202e" + strings.Repeat("x", 1000),
	}))
	_, err := c.Poll(t.Context(), start(t, c))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	if len(e.Description) > 200 || !strings.HasPrefix(e.Description, "line???quote? ? ?xx") {
		t.Errorf("description %q", e.Description)
	}
	if e.Error() != "ciba: poll: access_denied (status 400)" {
		t.Errorf("text %q", e.Error())
	}
}

func TestRetryAfter(t *testing.T) {
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	for value, want := range map[string]time.Duration{
		"":                              0,
		"5":                             5 * time.Second,
		" 5 ":                           5 * time.Second,
		"-5":                            0,
		"soon":                          0,
		"1000000000":                    time.Hour,
		"99999999999999999999999999999": time.Hour,
		"Sun, 06 Nov 1994 08:50:07 GMT": 30 * time.Second,
		"Sun, 06 Nov 1994 08:49:07 GMT": 0,
		"Sun, 06 Nov 2094 08:49:07 GMT": time.Hour,
	} {
		a := &answer{header: http.Header{"Retry-After": {value}, "Date": {date}}}
		if got := a.retryAfter(); got != want {
			t.Errorf("Retry-After %q gives %s, want %s", value, got, want)
		}
	}
}
