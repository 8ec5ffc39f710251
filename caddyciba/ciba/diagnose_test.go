package ciba

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// findings returns the severities by check, and all details.
func findings(t *testing.T, list []Finding) (map[string]Severity, string) {
	t.Helper()
	found := map[string]Severity{}
	var text strings.Builder
	for _, f := range list {
		_, twice := found[f.Check]
		if twice || f.Detail == "" {
			t.Errorf("finding %+v", f)
		}
		found[f.Check] = f.Severity
		text.WriteString(f.Detail + "\n")
	}
	return found, text.String()
}

// Each fault is found under its own name, and nothing else is.
func TestDiagnose(t *testing.T) {
	unknown := refuses("invalid_grant")
	for name, row := range map[string]struct {
		config   func(*Config)
		metadata func(map[string]any)
		token    http.HandlerFunc
		check    string
		want     Severity
	}{
		"all in order":     {token: unknown},
		"no grant":         {metadata: func(md map[string]any) { md["grant_types_supported"] = []string{"password"} }, token: unknown, check: "grant", want: SeverityFailure},
		"no list":          {metadata: func(md map[string]any) { delete(md, "grant_types_supported") }, token: unknown, check: "grant", want: SeverityWarning},
		"no ping":          {config: func(c *Config) { c.Delivery = DeliveryPing }, token: unknown, check: "delivery", want: SeverityFailure},
		"method":           {metadata: func(md map[string]any) { md["token_endpoint_auth_methods_supported"] = []string{"private_key_jwt"} }, token: unknown, check: "authentication", want: SeverityFailure},
		"signing":          {metadata: func(md map[string]any) { md["id_token_signing_alg_values_supported"] = []string{"HS256"} }, token: unknown, check: "id_token", want: SeverityFailure},
		"unsigned only":    {config: func(c *Config) { c.RequestKey = &testKey }, token: unknown, check: "signed_requests", want: SeverityFailure},
		"unknown client":   {token: refuses(CodeInvalidClient), check: "client", want: SeverityFailure},
		"not for CIBA":     {token: refuses(CodeUnauthorizedClient), check: "client", want: SeverityFailure},
		"provider is down": {token: sends(503, map[string]any{}), check: "client", want: SeverityUnreachable},
		"odd refusal":      {token: refuses("invalid_request"), check: "client", want: SeverityWarning},
		"clock ahead":      {token: dated(unknown, time.Hour), check: "clock", want: SeverityFailure},
		"clock behind":     {token: dated(unknown, -time.Hour), check: "clock", want: SeverityFailure},
		"clock nearly":     {token: dated(unknown, 6*time.Second), check: "clock", want: SeverityWarning},
	} {
		t.Run(name, func(t *testing.T) {
			c, op := newTestClient(t, row.config)
			md := op.metadata()
			md["token_endpoint_auth_methods_supported"] = []string{c.auth.Method()}
			if row.metadata != nil {
				row.metadata(md)
			}
			op.on("/.well-known/openid-configuration", sends(200, md))
			if row.check != "clock" {
				row.token = dated(row.token, 0)
			}
			op.onPolls(row.token)
			got, text := findings(t, c.Diagnose(t.Context()))
			for check, severity := range got {
				want := SeverityOK
				if check == row.check {
					want = row.want
				}
				if severity != want {
					t.Errorf("%s: %s, want %s\n%s", check, severity, want, text)
				}
			}
			if row.check != "" && got[row.check] == "" {
				t.Errorf("%s was not looked at", row.check)
			}
			if len(op.seen("/backchannel")) != 0 {
				t.Error("a customer was asked")
			}
		})
	}
}

// dated adds the time of the provider to an answer, which is off by some time.
func dated(h http.HandlerFunc, off time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		h(w, r)
	}
}

// Without a discovery document there is nothing else to look at.
func TestDiagnoseUnreachable(t *testing.T) {
	c, op := newTestClient(t, nil)
	op.on("/.well-known/openid-configuration", sends(502, map[string]any{}))
	got, _ := findings(t, c.Diagnose(t.Context()))
	if len(got) != 1 || got["discovery"] != SeverityUnreachable {
		t.Errorf("found %v", got)
	}
	op.on("/.well-known/openid-configuration", sends(200, map[string]any{"issuer": "https://evil.example"}))
	got, _ = findings(t, c.Diagnose(t.Context()))
	if got["discovery"] != SeverityFailure {
		t.Errorf("found %v", got)
	}
}
