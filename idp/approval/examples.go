package approval

import "time"

// pageExample is a page with data as they could be, to try out templates with.
type pageExample struct {
	page  string
	data  any
	needs []string // what the page must have to be of use
}

// examples returns examples of the pages that a decision takes, each with everything
// that can stand on it.
func (a *App) examples(l *locale) []pageExample {
	now := a.cfg.Now()
	text := Text{Value: "Example", Hidden: true, Mixed: true}
	at := l.moment(now, now, a.cfg.Location)
	about := subject{
		ID: "example", Client: text, Logo: a.base + "/logos/example", Message: &text, Place: &text,
		Facts: facts{
			Kind: "Example", Amount: "1", Currency: "EUR", Payee: &text, Account: &text,
			Groups: []factGroup{{Kind: "Example", Rows: []factRow{{Label: "Example", Value: text}, {Name: text, Value: text}}, More: []factRow{{Label: "Example", Value: text}}}},
		},
	}
	plain := subject{ID: "example", Client: text, Message: &text}
	scopes := []scopeView{{Value: "a", Name: text, Description: text, Required: true, Emphasize: true}, {Value: "b", Name: text, Description: text}}
	request := requestView{
		subject: about, Token: "example-token", Scopes: scopes, Asked: at, Ends: at, Left: time.Minute, Total: time.Minute,
		NeedsProof: true, Others: 2, MustMatch: true, MatchError: "wrong", TriesLeft: 2,
	}
	simple := request
	simple.subject, simple.Scopes, simple.Others, simple.MustMatch, simple.NeedsProof = plain, nil, 0, false, false
	decides := []string{`value="example-token"`, `value="approve"`, `value="deny"`, "/requests/example/decision"}
	examples := []pageExample{
		{page: "list", data: listView{Items: []listItem{{subject: about, Left: time.Minute}, {subject: plain, Left: time.Minute}}}, needs: []string{"/requests/example"}},
		{page: "list", data: listView{}},
		{page: "request", data: request, needs: append(decides, `value="report"`, `name="number"`, `name="scope"`)},
		{page: "request", data: simple, needs: decides},
		{page: "history", data: historyView{Items: []historyItem{{subject: about, Kind: "approved", When: at}, {subject: plain, Kind: "waiting", When: at}}, Older: "example"}, needs: []string{"/requests/example"}},
		{page: "history", data: historyView{First: true}},
		{page: "blocked", data: blockedView{Items: []blockedItem{{ID: "example", Name: text, Since: at, Token: "example-token"}}}, needs: []string{`value="example-token"`, `name="blocked"`}},
		{page: "blocked", data: blockedView{}},
		{page: "problem", data: problemView{Title: "problem.gone.title", Text: "problem.gone.text", Code: "404"}},
		{page: "problem", data: problemView{Title: "problem.host.title", Text: "problem.host.text", Code: "421", Home: a.origin + a.base + "/"}},
		{page: "offline"},
	}
	for _, kind := range []string{"approved", "denied", "mismatched", "reported", "reported_late", "expired", "lapsed", "cancelled"} {
		end := endView{subject: about, Kind: kind, Already: true, When: &at, Granted: scopes, Others: 1}
		examples = append(examples, pageExample{page: "end", data: end})
		end.subject, end.Token, end.Others, end.Already = plain, "example-token", 0, false
		examples = append(examples, pageExample{page: "end", data: end, needs: []string{`value="report"`}})
	}
	return examples
}
