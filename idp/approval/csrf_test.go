package approval

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// U01, U02: who may decide a request.
func TestDecisionNeedsItsCustomer(t *testing.T) {
	g := newRig(t)
	_, id := g.ask("alice", "")
	alice, bob := g.signedIn("alice"), g.signedIn("bob")
	form := alice.decision(id, "approve")

	w := g.browser().post("/requests/"+id+"/decision", form)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/sign-in?next=%2Frequests%2F"+id {
		t.Errorf("without session: %d to %q", w.Code, w.Header().Get("Location"))
	}

	// Bob has a token of his own for her request: he knows his cookie.
	secret, _ := bob.secret()
	stolen := url.Values{"decision": {"approve"}, "token": {formToken(secret, decisionPurpose, id)}}
	foreign := bob.post("/requests/"+id+"/decision", stolen)
	unknown := "AAAAAAAAAAAAAAAAAAAAAA"
	stolen.Set("token", formToken(secret, decisionPurpose, unknown))
	missing := bob.post("/requests/"+unknown+"/decision", stolen)
	if foreign.Code != http.StatusNotFound || missing.Code != http.StatusNotFound {
		t.Errorf("foreign request %d, unknown request %d, want 404 for both", foreign.Code, missing.Code)
	}
	if foreign.Body.String() != missing.Body.String() {
		t.Error("a foreign request can be told from one that does not exist")
	}
	page := bob.get("/requests/" + id)
	if page.Code != http.StatusNotFound {
		t.Errorf("page of a foreign request: %d", page.Code)
	}
	if g.state("alice", id) != provider.StatePending {
		t.Errorf("state: %s", g.state("alice", id))
	}
}

// secret returns the id of the browser's session.
func (b *browser) secret() ([]byte, bool) {
	r, err := http.NewRequest(http.MethodGet, "/", nil)
	if err != nil {
		b.g.t.Fatal(err)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return b.g.app.cookieSecret(r, "session")
}

// U03: the token of a form is good for one session, one request, one action.
func TestFormToken(t *testing.T) {
	g := newRig(t)
	_, id := g.ask("alice", "")
	_, other := g.ask("alice", "")
	alice, again := g.signedIn("alice"), g.signedIn("alice")
	good := alice.decision(id, "deny").Get("token")
	signOut := tokenPattern.FindStringSubmatch(alice.get("/").Body.String())[1]
	tests := map[string]url.Values{
		"missing":           {"decision": {"deny"}},
		"empty":             {"decision": {"deny"}, "token": {""}},
		"twice":             {"decision": {"deny"}, "token": {good, good}},
		"of other request":  {"decision": {"deny"}, "token": alice.decision(other, "deny")["token"]},
		"of other session":  {"decision": {"deny"}, "token": again.decision(id, "deny")["token"]},
		"of other action":   {"decision": {"deny"}, "token": {signOut}},
		"changed at end":    {"decision": {"deny"}, "token": {good[:len(good)-1] + "~"}},
		"cut":               {"decision": {"deny"}, "token": {good[:20]}},
		"with more behind":  {"decision": {"deny"}, "token": {good + "A"}},
		"in the query only": nil,
	}
	for name, form := range tests {
		t.Run(name, func(t *testing.T) {
			path := "/requests/" + id + "/decision"
			if form == nil {
				path += "?decision=deny&token=" + good
			}
			w := alice.post(path, form)
			if w.Code != http.StatusForbidden {
				t.Errorf("status %d, want 403", w.Code)
			}
			if g.state("alice", id) != provider.StatePending {
				t.Fatalf("state: %s", g.state("alice", id))
			}
		})
	}
	w := alice.post("/requests/"+id+"/decision", url.Values{"decision": {"deny"}, "token": {good}})
	if w.Code != http.StatusSeeOther || g.state("alice", id) != provider.StateDenied {
		t.Errorf("the good one: %d, state %s", w.Code, g.state("alice", id))
	}
	w = alice.post("/requests/"+id+"/decision", url.Values{"decision": {"approve"}, "token": {good}})
	if w.Code != http.StatusConflict || g.state("alice", id) != provider.StateDenied {
		t.Errorf("the good one again: %d, state %s", w.Code, g.state("alice", id))
	}
}

// U04: where a form comes from.
func TestFormOrigin(t *testing.T) {
	tests := map[string]struct {
		origin, site []string
		want         int
	}{
		"browser of today":             {[]string{testPublic}, []string{"same-origin"}, http.StatusSeeOther},
		"old browser":                  {[]string{testPublic}, nil, http.StatusSeeOther},
		"no Origin":                    {nil, []string{"same-origin"}, http.StatusSeeOther},
		"neither":                      {nil, nil, http.StatusForbidden},
		"evil":                         {[]string{"https://evil.example"}, []string{"same-origin"}, http.StatusForbidden},
		"evil and old":                 {[]string{"https://evil.example"}, nil, http.StatusForbidden},
		"null":                         {[]string{"null"}, []string{"same-origin"}, http.StatusForbidden},
		"null and old":                 {[]string{"null"}, nil, http.StatusForbidden},
		"empty":                        {[]string{""}, nil, http.StatusForbidden},
		"http":                         {[]string{"http://" + testHost}, nil, http.StatusForbidden},
		"other port":                   {[]string{testPublic + ":8443"}, nil, http.StatusForbidden},
		"upper case":                   {[]string{"https://ID.example.com"}, nil, http.StatusForbidden},
		"two":                          {[]string{testPublic, "https://evil.example"}, nil, http.StatusForbidden},
		"sibling":                      {[]string{"https://www.example.com"}, []string{"same-site"}, http.StatusForbidden},
		"same-site with our Origin":    {[]string{testPublic}, []string{"same-site"}, http.StatusForbidden},
		"cross-site":                   {nil, []string{"cross-site"}, http.StatusForbidden},
		"cross-site with our Origin":   {[]string{testPublic}, []string{"cross-site"}, http.StatusForbidden},
		"unknown site with our Origin": {[]string{testPublic}, []string{"whatever"}, http.StatusForbidden},
		"two sites":                    {[]string{testPublic}, []string{"same-origin", "cross-site"}, http.StatusForbidden},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			_, id := g.ask("alice", "")
			b := g.signedIn("alice")
			form := b.decision(id, "approve")
			b.header["Origin"], b.header["Sec-Fetch-Site"] = test.origin, test.site
			w := b.post("/requests/"+id+"/decision", form)
			if w.Code != test.want {
				t.Errorf("status %d, want %d", w.Code, test.want)
			}
			approved := g.state("alice", id) == provider.StateApproved
			if approved != (test.want == http.StatusSeeOther) {
				t.Errorf("state: %s", g.state("alice", id))
			}
		})
	}
}

// The other forms are guarded in the same way.
func TestSignInAndOutAreGuarded(t *testing.T) {
	g := newRig(t)
	b := g.browser()
	form := url.Values{"username": {"alice"}, "password": {testPassword}}
	form.Set("token", token(t, b.get("/sign-in")))

	for name, change := range map[string]func(*browser, url.Values){
		"cross-site": func(b *browser, _ url.Values) { b.header.Set("Sec-Fetch-Site", "cross-site") },
		"no cookie":  func(b *browser, _ url.Values) { clear(b.cookies) },
		"no token":   func(_ *browser, f url.Values) { f.Del("token") },
		"other cookie": func(b *browser, _ url.Values) {
			b.cookies[g.app.cookieName("form")] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		},
	} {
		t.Run("sign-in "+name, func(t *testing.T) {
			tampered := g.browser()
			for k, v := range b.cookies {
				tampered.cookies[k] = v
			}
			f := url.Values{}
			for k, v := range form {
				f[k] = v
			}
			change(tampered, f)
			w := tampered.post("/sign-in", f)
			if w.Code != http.StatusForbidden {
				t.Errorf("status %d, want 403", w.Code)
			}
			_, signedIn := tampered.cookies[g.app.cookieName("session")]
			if signedIn {
				t.Error("a session was made")
			}
		})
	}

	b = g.signedIn("alice")
	w := b.post("/sign-out", url.Values{"token": {"x"}})
	if w.Code != http.StatusForbidden || b.get("/").Code != http.StatusOK {
		t.Errorf("sign-out without token: %d", w.Code)
	}
	old := b.cookies[g.app.cookieName("session")]
	w = b.post("/sign-out", url.Values{"token": {token(t, b.get("/"))}})
	if w.Code != http.StatusSeeOther || b.get("/").Code != http.StatusSeeOther {
		t.Errorf("sign-out: %d", w.Code)
	}
	b.cookies[g.app.cookieName("session")] = old
	if b.get("/").Code != http.StatusSeeOther {
		t.Error("the session lives on after sign-out")
	}
}

// U05: nothing but POST decides.
func TestDecisionMethods(t *testing.T) {
	g := newRig(t)
	_, id := g.ask("alice", "")
	b := g.signedIn("alice")
	form := b.decision(id, "approve")
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post"} {
		w := b.do(method, "/requests/"+id+"/decision?"+form.Encode(), nil)
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	for _, path := range []string{"/requests/" + id + "?decision=approve", "/?action=approve"} {
		b.get(path)
		b.do("HEAD", path, nil)
		w := b.do("PUT", path, nil)
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("PUT %s: %d, Allow %q", path, w.Code, w.Header().Get("Allow"))
		}
	}
	if g.state("alice", id) != provider.StatePending {
		t.Errorf("state: %s", g.state("alice", id))
	}
}
