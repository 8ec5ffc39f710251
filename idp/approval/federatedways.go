package approval

import (
	"net/url"
	"slices"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

// elsewhere is a link to another provider.
type elsewhere struct {
	URL   string
	Title Text
}

// signInsElsewhere are the links of the sign-in page.
func (a *App) signInsElsewhere(next string) []elsewhere {
	var links []elsewhere
	for _, f := range a.cfg.Federations {
		links = append(links, elsewhere{
			URL:   a.base + "/sign-in/with/" + f.Issuer.Name() + "?" + url.Values{"next": {next}}.Encode(),
			Title: newText(f.title()),
		})
	}
	return links
}

// proofElsewhere is the link by which who has signed in elsewhere proves it anew, for a
// request or, if it is nil, for anything else. It is nil where that would not be
// enough.
func (a *App) proofElsewhere(s *session, account *factor.Account, req *provider.Request, next string) *elsewhere {
	i := slices.IndexFunc(a.cfg.Federations, func(f Federation) bool { return f.Issuer.Name() == s.data.Federation })
	if i < 0 || account.Strong() {
		return nil
	}
	f := a.cfg.Federations[i]
	if req != nil && len(req.ACRValues) > 0 && !f.reaches(req.ACRValues) {
		return nil
	}
	return &elsewhere{
		URL:   a.base + "/prove/with/" + f.Issuer.Name() + "?" + url.Values{"next": {next}}.Encode(),
		Title: newText(f.title()),
	}
}

// reaches says whether a sign-in over there may stand for one of the classes.
func (f Federation) reaches(classes []string) bool {
	for _, class := range f.Classes {
		if slices.Contains(classes, class) {
			return true
		}
	}
	return false
}
