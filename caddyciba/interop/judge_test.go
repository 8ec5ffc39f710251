package interop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// mistake writes down what the gateway has done wrong. The run is locked.
func (r *run) mistake(format string, args ...any) {
	r.mistakes = append(r.mistakes, fmt.Sprintf(format, args...))
}

// judgeCaller checks who makes a request, and how the client authenticates. The
// audience of an assertion may be any of those given.
func (r *run) judgeCaller(req *http.Request, audiences ...string) {
	err := req.ParseForm()
	if err != nil || req.Method != http.MethodPost || req.URL.RawQuery != "" {
		r.mistake("%s is no form: %s, %v", req.URL.Path, req.Method, err)
		return
	}
	if r.method == "mtls" || strings.HasPrefix(req.URL.Path, "/test-mtls/") {
		r.judgeCertificate(req)
	}
	for name, values := range req.PostForm {
		if len(values) != 1 {
			r.mistake("%s occurs %d times", name, len(values))
		}
	}
	if r.method == "mtls" {
		if req.PostForm.Get("client_id") != clientID || req.PostForm.Has("client_assertion") || req.Header.Get("Authorization") != "" {
			r.mistake("the client did not authenticate by its certificate alone")
		}
		return
	}
	if req.PostForm.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		r.mistake("client_assertion_type is %q", req.PostForm.Get("client_assertion_type"))
	}
	_, claims := r.open(req.PostForm.Get("client_assertion"))
	if claims["iss"] != clientID || claims["sub"] != clientID {
		r.mistake("the assertion is of %v about %v", claims["iss"], claims["sub"])
	}
	audience, ok := claims["aud"].(string)
	if !ok || !slices.Contains(audiences, audience) {
		r.mistake("the assertion is for %v", claims["aud"])
	}
	r.judgeTimes("assertion", claims)
	r.judgeOnce("assertion", claims)
}

const clientID = "gateway"

// judgeCertificate checks that the connection shows the registered certificate.
func (r *run) judgeCertificate(req *http.Request) {
	if req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
		r.mistake("%s was called without a certificate", req.URL.Path)
		return
	}
	if !bytes.Equal(req.TLS.PeerCertificates[0].Raw, r.op.known.clientCert.Raw) {
		r.mistake("%s was called with another certificate", req.URL.Path)
	}
}

// open verifies a JWT of the gateway's.
func (r *run) open(token string) (jose.Header, map[string]any) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.PS256, jose.ES256})
	if err != nil {
		r.mistake("a JWT is not readable: %v", err)
		return jose.Header{}, nil
	}
	key := r.op.known.clientKey.Public()
	payload, err := signed.Verify(key)
	if err != nil {
		r.mistake("a JWT is not signed by the registered key: %v", err)
	}
	var claims map[string]any
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	err = dec.Decode(&claims)
	if err != nil {
		r.mistake("a JWT has no claims: %v", err)
	}
	return signed.Signatures[0].Header, claims
}

// judgeTimes checks the bounds of FAPI-CIBA section 5.2.2.
func (r *run) judgeTimes(what string, claims map[string]any) {
	now := time.Now()
	exp, ok := date(claims["exp"])
	if !ok || exp.Before(now) || exp.After(now.Add(time.Hour)) {
		r.mistake("exp of the %s is %v", what, claims["exp"])
	}
	nbf, ok := date(claims["nbf"])
	if what == "request" && !ok || ok && (nbf.After(now.Add(time.Minute)) || nbf.Before(now.Add(-time.Hour))) {
		r.mistake("nbf of the %s is %v", what, claims["nbf"])
	}
	iat, ok := date(claims["iat"])
	if !ok || iat.After(now.Add(time.Minute)) || iat.Before(now.Add(-time.Minute)) {
		r.mistake("iat of the %s is %v", what, claims["iat"])
	}
}

func date(v any) (time.Time, bool) {
	number, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := number.Int64()
	return time.Unix(seconds, 0), err == nil
}

// judgeOnce refuses a jti that was seen before.
func (r *run) judgeOnce(what string, claims map[string]any) {
	jti, _ := claims["jti"].(string)
	if jti == "" || r.jtis[jti] {
		r.mistake("jti of the %s is missing or was used before", what)
	}
	r.jtis[jti] = true
}

// ofClient are the parameters that may stand beside a signed request.
var ofClient = []string{"request", "client_id", "client_assertion", "client_assertion_type"}

// notificationToken is what a client_notification_token may look like.
var notificationToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]{22,1000}=*$`)

// judgeRequest checks the signed authentication request.
func (r *run) judgeRequest(req *http.Request) {
	for name := range req.PostForm {
		if !slices.Contains(ofClient, name) {
			r.mistake("%s stands beside the signed request", name)
		}
	}
	header, claims := r.open(req.PostForm.Get("request"))
	typ, present := header.ExtraHeaders["typ"].(string)
	if present && typ != "oauth-authz-req+jwt" {
		r.mistake("typ of the request is %q", typ)
	}
	if claims["iss"] != clientID || claims["aud"] != r.issuer() || claims["sub"] != nil || claims["request"] != nil || claims["request_uri"] != nil {
		r.mistake("the request is of %v for %v", claims["iss"], claims["aud"])
	}
	r.judgeTimes("request", claims)
	r.judgeOnce("request", claims)
	scope, _ := claims["scope"].(string)
	words := strings.Fields(scope)
	slices.Sort(words)
	if !slices.Equal(words, []string{"accounts", "openid"}) {
		r.mistake("scope is %q", scope)
	}
	found := 0
	for _, name := range []string{"login_hint", "login_hint_token", "id_token_hint"} {
		if claims[name] != nil {
			found++
		}
	}
	if found != 1 {
		r.mistake("%d hints", found)
	}
	if claims["binding_message"] == nil {
		r.mistake("no binding_message")
	}
	seconds, ok := claims["requested_expiry"].(json.Number)
	if !ok || strings.ContainsAny(string(seconds), "-.") || seconds == "0" {
		r.mistake("requested_expiry is %v", claims["requested_expiry"])
	}
	token, _ := claims["client_notification_token"].(string)
	if r.mode == "ping" && !notificationToken.MatchString(token) {
		r.mistake("client_notification_token is %q", token)
	}
	if r.mode == "poll" && token != "" {
		r.mistake("a client that polls sent a client_notification_token")
	}
	r.request = claims
}

// judgePoll checks a token request. CIBA checklist T3, T5.
func (r *run) judgePoll(req *http.Request, now time.Time) {
	if got := req.PostForm.Get("grant_type"); got != "urn:openid:params:grant-type:ciba" {
		r.mistake("grant_type is %q", got)
	}
	if got := req.PostForm.Get("auth_req_id"); got != r.authReqID() {
		r.mistake("auth_req_id is %q", got)
	}
	if len(r.answered) == 0 || r.mode == "ping" && r.pinged {
		return
	}
	if gap := now.Sub(r.answered[len(r.answered)-1]); gap < r.pause-20*time.Millisecond {
		r.mistake("polled again after %s, the interval is %s", gap, r.pause)
	}
}
