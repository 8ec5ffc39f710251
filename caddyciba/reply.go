package caddyciba

import (
	"errors"
	"net/http"
	"net/url"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// refuse answers for a request that is not passed on, or whose fate at the
// upstream is not known. The operator's handle_errors routes get the first
// word. Where there are none, or they leave the answer empty, the answer is the
// problem document of the refusal.
//
// The routes are run here and not by returning the error to the server,
// because the server would answer with an empty body when none of them matches.
func refuse(w http.ResponseWriter, r *http.Request, refusal *stepup.Refusal) error {
	describe(r, refusal)
	srv, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	_, nested := r.Context().Value(caddyhttp.ErrorCtxKey).(error)
	if srv == nil || srv.Errors == nil || len(srv.Errors.Routes) == 0 || nested {
		stepup.WriteProblem(w, r, refusal)
		return nil
	}

	// The routes get what callers may know; the cause is for the log alone.
	cause := caddyhttp.Error(refusal.Status, errors.New(refusal.Title+": "+refusal.Detail))
	failed := srv.Errors.WithError(original(r), cause)
	answer := &errorAnswer{ResponseWriter: w}
	stepup.SetProblemHeaders(w, r, refusal)
	err := srv.Errors.Routes.Compile(unanswered).ServeHTTP(answer, failed)
	if err != nil {
		// The server would run the same routes once more.
		caddy.Log().Named("http.handlers.ciba").Error("error routes failed",
			zap.String("problem", string(refusal.Problem)), zap.Error(err))
	}
	switch {
	case answer.committed:
	case err == nil && answer.status != 0 && answer.status != refusal.Status:
		// A deliberate answer without body, such as a redirect.
		w.WriteHeader(answer.status)
	default:
		stepup.WriteProblem(w, r, refusal)
	}
	return nil
}

// original undoes what directives have done to method and target, as the server
// does before it runs error routes, so that their matchers see what the caller
// has sent. The request of the handler stays as it is.
func original(r *http.Request) *http.Request {
	first, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return r
	}
	restored := r.WithContext(r.Context())
	restored.Method = first.Method
	restored.RemoteAddr = first.RemoteAddr
	restored.RequestURI = first.RequestURI
	restored.URL = new(url.URL)
	*restored.URL = *first.URL
	return restored
}

// unanswered ends the error routes: nobody has answered.
var unanswered caddyhttp.Handler = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// An errorAnswer keeps back the status that an error route writes until there
// is a body. When a Caddyfile's error routes do not match, Caddy writes the
// error's status without a body, and this is how we learn of it. It has no
// ReadFrom, so that every byte passes Write.
type errorAnswer struct {
	http.ResponseWriter
	status    int
	committed bool
}

// WriteHeader keeps the first final status.
func (a *errorAnswer) WriteHeader(status int) {
	switch {
	case status >= 100 && status < 200:
		a.ResponseWriter.WriteHeader(status)
	case a.status == 0:
		a.status = status
	}
}

// Write sends the header that was kept back, and then p.
func (a *errorAnswer) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	a.commit()
	return a.ResponseWriter.Write(p)
}

// Flush sends the header that was kept back: the answer is the route's own.
func (a *errorAnswer) Flush() {
	a.commit()
	// A writer that cannot flush sends everything at the end.
	_ = http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap lets a route set deadlines on the connection.
func (a *errorAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *errorAnswer) commit() {
	if a.committed {
		return
	}
	a.committed = true
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.ResponseWriter.WriteHeader(a.status)
}

// asRefusal finds a refusal in an error of the engine.
func asRefusal(err error) (*stepup.Refusal, bool) {
	return errors.AsType[*stepup.Refusal](err)
}
