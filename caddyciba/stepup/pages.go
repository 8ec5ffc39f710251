package stepup

import (
	"net/http"
	"strings"
	"sync"

	"github.com/caddyciba/gateway/caddyciba/stepup/page"
)

// assetPrefix begins the paths of what pages load.
const assetPrefix = Prefix + "assets/"

// pages renders for people what WriteProblem and Desk say to programs.
var pages = sync.OnceValues(func() (*page.Pages, error) { return page.New(assetPrefix) })

// serveAsset answers with what pages load.
func (d *Desk) serveAsset(w http.ResponseWriter, r *http.Request) error {
	name, ok := strings.CutPrefix(r.URL.Path, assetPrefix)
	if !ok {
		return notFound()
	}
	err := allow(r, http.MethodGet, http.MethodHead)
	if err != nil {
		return err
	}
	p, err := pages()
	if err != nil {
		return lookupRefusal(err)
	}
	if !p.ServeAsset(w, r, name) {
		return notFound()
	}
	return nil
}

// servePage shows the transaction to the person whose browser asks.
func (c *counter) servePage(w http.ResponseWriter, r *http.Request) error {
	p, err := pages()
	if err != nil {
		return lookupRefusal(err)
	}
	v, err := c.page(r)
	if err != nil {
		return err
	}
	err = p.Write(w, r, http.StatusOK, v)
	if err != nil {
		return lookupRefusal(err)
	}
	return nil
}

// page is what is shown of the transaction. Its error is a *Refusal.
func (c *counter) page(r *http.Request) (page.View, error) {
	v := page.View{Kind: c.kind()}
	if c.State.Final() {
		v.Support = c.ID
	} else {
		v.State, v.Events = string(c.State), c.path+"/events"
	}
	if c.file != nil {
		v.Message = c.file.Message
	}
	if c.cancellable() {
		v.Cancel = c.path + "/cancel"
	}
	if v.Kind == page.Waiting && c.file != nil {
		v.MatchCode = c.file.MatchCode
		v.Left = max(0, c.file.Until.Sub(c.gate.now()))
		v.Hold = c.file.Until.Sub(c.file.Arrived)
	}
	if v.Kind == page.Answered && c.file != nil {
		v.Link, v.LinkText = c.path+"/result", "show"
	}
	secret, err := c.gate.vault.formSecret(r.Context(), c.ID)
	if err != nil {
		return v, lookupRefusal(err)
	}
	v.Form = secret
	if v.Kind == page.Approved && c.cookie {
		// The page sends the browser on by itself, so there is nothing to follow.
		v.Events = ""
		v.Handle = strings.TrimPrefix(c.path, statusPrefix)
		v.Continue = c.continueAt()
	}
	return v, nil
}

// continueAt is where the browser has to post for the answer to have the address
// of the request.
func (c *counter) continueAt() string {
	if c.file == nil || c.file.Address == "" {
		return c.path + "/continue"
	}
	if strings.Contains(c.file.Address, "?") {
		return c.file.Address + "&" + continueKey
	}
	return c.file.Address + "?" + continueKey
}

// kind is the page for the transaction's state.
func (c *counter) kind() page.Kind {
	switch c.State {
	case StateApproved:
		if c.Mode == ModeRedirect {
			return page.Approved
		}
		return page.ApprovedAsync
	case StateSending:
		return page.Sending
	case StateAnswered:
		return page.Answered
	case StateDenied:
		return page.Denied
	case StateExpired:
		return page.Expired
	case StateCancelled:
		return page.Cancelled
	case StateInDoubt:
		return page.InDoubt
	case StateFailed:
		return problemKinds[c.Problem].orElse(page.Failed)
	default:
		return page.Waiting
	}
}

// problemKind is a page for a problem, or none.
type problemKind page.Kind

func (k problemKind) orElse(other page.Kind) page.Kind {
	if k == "" {
		return other
	}
	return page.Kind(k)
}

// problemKinds are the pages for problems. For the others the status decides.
var problemKinds = map[Problem]problemKind{
	ProblemDenied:              problemKind(page.Denied),
	ProblemExpired:             problemKind(page.Expired),
	ProblemCancelled:           problemKind(page.Cancelled),
	ProblemCallerGone:          problemKind(page.Cancelled),
	ProblemApprovalUnavailable: problemKind(page.Unavailable),
	ProblemMismatch:            problemKind(page.Failed),
	ProblemUnauthenticated:     problemKind(page.SignIn),
	ProblemIdentical:           problemKind(page.Duplicate),
	ProblemInProgress:          problemKind(page.Duplicate),
	ProblemAlreadySent:         problemKind(page.Duplicate),
	ProblemOutcomeUnknown:      problemKind(page.InDoubt),
	ProblemNoTransaction:       problemKind(page.NotFound),
	ProblemResultNotKept:       problemKind(page.NotFound),
	ProblemTooManyHeld:         problemKind(page.Later),
}

// pageOf is the page for a refusal.
func pageOf(f *Refusal) page.View {
	other := page.Refused
	if f.Status >= http.StatusInternalServerError || f.Status == http.StatusTooManyRequests {
		other = page.Later
	}
	v := page.View{Kind: problemKinds[f.Problem].orElse(other), Support: string(f.Problem)}
	if f.Transaction != "" {
		v.Support = f.Transaction + " · " + string(f.Problem)
	}
	if f.Location != "" {
		v.Link, v.LinkText = f.Location, "where"
	}
	return v
}

// writeProblemPage renders f for a person, and reports whether it could.
func writeProblemPage(w http.ResponseWriter, r *http.Request, f *Refusal) bool {
	p, err := pages()
	if err != nil {
		return false
	}
	SetProblemHeaders(w, r, f)
	return p.Write(w, r, f.Status, pageOf(f)) == nil
}
