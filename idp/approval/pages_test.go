package approval

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/caddyciba/gateway/idp/provider"
)

// everyRequest returns one request in each state that a page exists for, with
// the given text in every place that somebody else writes.
func everyRequest(now time.Time, text string) []*provider.Request {
	var requests []*provider.Request
	for i, state := range []provider.State{
		provider.StatePending, provider.StatePending, provider.StateApproved, provider.StateRedeemed,
		provider.StateDenied, provider.StateExpired, provider.StateExpired, provider.StateCancelled,
		provider.StateDenied, provider.StateDenied, provider.StateRedeemed, provider.StatePending,
	} {
		r := &provider.Request{
			ID: fmt.Sprintf("r%d", i), Subject: "sub-alice", State: state,
			Client:         provider.ClientInfo{ID: text, Name: text, LogoURI: text, URI: text},
			BindingMessage: text, Place: text,
			Scopes: []provider.Scope{
				{Name: "openid", DisplayName: text, Description: text, Required: true},
				{Name: "profile", DisplayName: text, Description: text, Emphasize: true},
			},
			AuthorizationDetails: everyDetail(text, i != 1),
			Details:              []provider.Detail{{Type: "x", DisplayName: text, Rows: []provider.DetailRow{{Name: "reference", Label: text, Value: text}}}},
			CreatedAt:            now.Add(time.Duration(i%2) * time.Second), ExpiresAt: now.Add(90 * time.Second),
		}
		if state == provider.StateApproved || state == provider.StateDenied || i == 6 {
			r.DecidedAt = now.Add(time.Second)
		}
		r.Mismatched, r.Reported, r.MustMatch = i == 8, i == 9 || i == 10, i == 11
		if i == 10 {
			r.Granted = []string{"openid"}
		}
		requests = append(requests, r)
	}
	return requests
}

// everyDetail returns details with the text in every place, with an amount or
// without.
func everyDetail(text string, amount bool) json.RawMessage {
	detail := map[string]any{
		"type": text, "creditor": map[string]any{"name": text, "iban": text}, "reference": text, text: text,
		"request_digest": text, "nested": map[string]any{text: []any{text, 1, true, nil}},
	}
	if amount {
		detail["amount"], detail["currency"] = "1250.00", "EUR"
	}
	raw, err := json.Marshal([]any{detail})
	if err != nil {
		panic(err)
	}
	return raw
}

// everyPage returns all pages of the app in a language, by a name.
func everyPage(t testing.TB, lang, text string) map[string]string {
	t.Helper()
	g := newRig(t)
	g.app.cfg.Provider = fixed{requests: everyRequest(g.clock.Now(), text)}
	b := g.browser()
	b.header.Set("Accept-Language", lang)
	pages := map[string]string{}
	add := func(name string, want int, code int, body string) {
		if code != want {
			t.Errorf("%s: status %d, want %d", name, code, want)
		}
		pages[name] = body
	}
	w := b.get("/sign-in")
	add("sign-in", 200, w.Code, w.Body.String())
	w = b.signIn("alice", "wrong")
	add("sign-in wrong", 401, w.Code, w.Body.String())
	w = b.signIn("alice", testPassword)
	if w.Code != http.StatusSeeOther {
		t.Fatalf("sign-in: %d", w.Code)
	}
	w = b.get("/")
	add("list", 200, w.Code, w.Body.String())
	for i := range 12 {
		w = b.get(fmt.Sprintf("/requests/r%d", i))
		add(fmt.Sprintf("request r%d", i), 200, w.Code, w.Body.String())
	}
	for _, i := range []int{2, 4, 5, 6, 7} {
		want := map[int]int{2: 409, 4: 409, 5: 410, 6: 410, 7: 410}[i]
		w = b.post(fmt.Sprintf("/requests/r%d/decision", i), formFor(b, i, "approve"))
		add(fmt.Sprintf("too late r%d", i), want, w.Code, w.Body.String())
	}
	for _, path := range []string{"/history", "/history?before=1." + strings.Repeat("x", 43)} {
		w = b.get(path)
		add(path, 200, w.Code, w.Body.String())
	}
	w = b.get("/blocked")
	add("blocked", 200, w.Code, w.Body.String())
	w = b.post("/requests/r11/decision", formFor(b, 11, "approve"))
	add("number missing", 422, w.Code, w.Body.String())
	g.app.cfg.Provider = fixed{requests: everyRequest(g.clock.Now(), text), err: provider.ErrMatchWrong}
	form := formFor(b, 11, "approve")
	form.Set("number", "42")
	form.Set("password", testPassword)
	w = b.post("/requests/r11/decision", form)
	add("number wrong", 422, w.Code, w.Body.String())
	g.app.cfg.Provider = fixed{requests: everyRequest(g.clock.Now(), text)}
	g.clock.advance(-time.Second)
	w = b.post("/requests/r1/decision", formFor(b, 1, "approve"))
	add("confirm", 200, w.Code, w.Body.String())
	form = formFor(b, 1, "approve")
	form.Set("password", "wrong")
	w = b.post("/requests/r1/decision", form)
	add("confirm wrong", 401, w.Code, w.Body.String())
	g.app.cfg.Provider = fixed{requests: everyRequest(g.clock.Now(), text), err: provider.ErrACR}
	w = b.post("/requests/r0/decision", formFor(b, 0, "approve"))
	add("weak", 403, w.Code, w.Body.String())
	g.app.cfg.Provider = fixed{}
	w = b.get("/")
	add("list empty", 200, w.Code, w.Body.String())
	w = b.get("/history")
	add("history empty", 200, w.Code, w.Body.String())
	w = b.get("/blocked")
	add("blocked empty", 200, w.Code, w.Body.String())
	w = b.get("/offline")
	add("offline", 200, w.Code, w.Body.String())
	for name, status := range map[string]int{"/requests/none": 404, "/requests/none/decision": 405} {
		w = b.get(name)
		add(name, status, w.Code, w.Body.String())
	}
	b.header.Set("Sec-Fetch-Site", "cross-site")
	w = b.post("/sign-out", nil)
	add("refused", 403, w.Code, w.Body.String())
	for range userAttempts {
		g.browser().signIn("bob", "wrong")
	}
	other := g.browser()
	other.header.Set("Accept-Language", lang)
	w = other.signIn("bob", "wrong")
	add("throttled", 429, w.Code, w.Body.String())
	return pages
}

func formFor(b *browser, i int, decision string) url.Values {
	secret, _ := b.secret()
	return url.Values{
		"decision": {decision}, "scope": {"profile"},
		"token": {formToken(secret, decisionPurpose, fmt.Sprintf("r%d", i))},
	}
}

// Every page comes out in every language, in that language, well formed, with
// one heading of the first level, and without a word of the trade.
func TestEveryPage(t *testing.T) {
	jargon := regexp.MustCompile(`(?i)\b(CIBA|OAuth|OpenID|scopes?|binding.message|clients?|authentication request|auth_req_id|acr|token)\b`)
	for _, lang := range languages {
		for name, body := range everyPage(t, lang, "Outside") {
			t.Run(lang+"/"+name, func(t *testing.T) {
				if !strings.Contains(body, `<html lang="`+lang+`">`) {
					t.Error("the language is not declared")
				}
				if n := strings.Count(body, "<h1"); n != 1 {
					t.Errorf("%d headings of the first level", n)
				}
				if strings.Contains(body, "ZgotmplZ") || strings.Contains(body, "<no value>") || strings.Contains(body, "{n}") || strings.Contains(body, "{wait}") {
					t.Errorf("a hole in the page:\n%s", body)
				}
				doc, err := html.Parse(strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if found := jargon.FindString(visibleText(doc)); found != "" {
					t.Errorf("the page says %q", found)
				}
				checkDocument(t, doc)
			})
		}
	}
}

// visibleText returns the text of a document.
func visibleText(n *html.Node) string {
	if n.Type == html.TextNode {
		return n.Data
	}
	var b strings.Builder
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		b.WriteString(visibleText(c))
	}
	return b.String()
}

// checkDocument finds what the policies and interface rules forbid: inline
// script and style, addresses that leave the origin, fields without a label,
// ids that come twice, buttons without a name.
func checkDocument(t *testing.T, doc *html.Node) {
	t.Helper()
	ids, labels := map[string]bool{}, map[string]bool{}
	var fields []string
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		a := map[string]string{}
		for _, attr := range n.Attr {
			a[attr.Key] = attr.Val
			if strings.HasPrefix(attr.Key, "on") || attr.Key == "style" {
				t.Errorf("inline %s", attr.Key)
			}
			switch attr.Key {
			case "href", "src", "action", "formaction", "poster", "data", "srcset":
				if !regexp.MustCompile(`^(/([^/\\]|$)|#)`).MatchString(attr.Val) {
					t.Errorf("<%s %s=%q> leaves the origin", n.Data, attr.Key, attr.Val)
				}
			}
		}
		if id := a["id"]; id != "" && ids[id] {
			t.Errorf("id %q comes twice", id)
		}
		ids[a["id"]] = true
		switch n.Data {
		case "script":
			if a["src"] == "" || n.FirstChild != nil {
				t.Error("inline script")
			}
		case "style", "iframe", "object", "embed", "base":
			t.Errorf("<%s>", n.Data)
		case "label":
			labels[a["for"]] = true
		case "input":
			_, hidden := a["hidden"]
			if a["type"] != "hidden" && !hidden {
				fields = append(fields, a["id"])
			}
		case "button":
			_, hidden := a["hidden"]
			if strings.TrimSpace(visibleText(n)) == "" && !hidden {
				t.Error("a button without a name")
			}
		}
	}
	for _, id := range fields {
		if !labels[id] {
			t.Errorf("field %q has no label", id)
		}
	}
}

// T18: what others write never becomes part of the page's structure. The page
// with a payload has the same elements and attributes as the page with a word.
func TestTextFromOutsideIsInert(t *testing.T) {
	payloads := lines(t, "testdata/xss.txt")
	if len(payloads) < 40 {
		t.Fatalf("%d payloads", len(payloads))
	}
	plain := everyPage(t, "en", "Outside")
	for _, payload := range payloads {
		// The first letter makes the monogram; it is kept the same.
		for name, body := range everyPage(t, "en", "O"+payload) {
			if got, want := skeleton(t, body), skeleton(t, plain[name]); got != want {
				t.Errorf("%q changes page %s:\n%s", payload, name, firstDifference(got, want))
			}
		}
	}
}

// skeleton writes the structure of a page without its text: elements in order,
// with names and values of attributes. Remarks on odd text are left out, as they
// are there or not depending on the text, and so are values that are random.
func skeleton(t *testing.T, body string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	var write func(n *html.Node)
	write = func(n *html.Node) {
		if n.Type == html.ElementNode {
			for _, a := range n.Attr {
				if a.Key == "class" && a.Val == "odd" {
					return
				}
			}
			fmt.Fprintf(&b, "<%s", n.Data)
			for _, a := range n.Attr {
				if a.Key == "value" && (len(a.Val) == 43 || slices.Contains(n.Attr, html.Attribute{Key: "name", Val: "blocked"})) {
					continue // random, or the id that goes back as it came
				}
				if a.Key == "data-options" {
					continue // with a challenge, which is random
				}
				fmt.Fprintf(&b, " %s=%q", a.Key, a.Val)
			}
			b.WriteString(">\n")
		}
		if n.Type == html.CommentNode {
			b.WriteString("<!-- -->\n")
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			write(c)
		}
	}
	write(doc)
	return b.String()
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d: %s instead of %s", i, g[i], w[i])
		}
	}
	return "one is longer"
}

// Nothing that is served names another host.
func TestNoForeignAddress(t *testing.T) {
	g := newRig(t)
	address := regexp.MustCompile(`(?i:(https?:)?//[a-z0-9.-]+\.[a-z]{2,})|[:, ]url\(|@import`)
	for name, file := range g.app.assets.byName {
		text := strings.ReplaceAll(string(file.body), "http://www.w3.org/2000/svg", "")
		if found := address.FindString(text); found != "" {
			t.Errorf("%s names %q", name, found)
		}
	}
	err := fs.WalkDir(templateFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := templateFiles.ReadFile(path)
		if found := address.Find(raw); found != nil {
			t.Errorf("%s names %q", path, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
