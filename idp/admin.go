package idp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminBase is the path below which the admin API answers, and maxAdminBody bounds
// what is sent to it, in bytes.
const (
	adminBase    = "/ciba_idp/users"
	maxAdminBody = 64 << 10

	// adminEvidence is the path below which evidence is, by the id of the request.
	adminEvidence = "/ciba_idp/evidence/"
)

// adminAPI is the part of Caddy's admin API by which operators look after customers:
//
//	GET    /ciba_idp/users                       those who were added here
//	POST   /ciba_idp/users                       adds one, with an enrollment link
//	GET    /ciba_idp/users/{name}                one, with what he signs in with
//	PATCH  /ciba_idp/users/{name}                disables or enables one
//	DELETE /ciba_idp/users/{name}                removes one
//	POST   /ciba_idp/users/{name}/link           makes another enrollment link
//	DELETE /ciba_idp/users/{name}/link           closes it
//	DELETE /ciba_idp/users/{name}/factors[/{id}] removes all or one: a passkey, or totp
//	DELETE /ciba_idp/users/{name}/sessions       signs out everywhere
//	GET    /ciba_idp/evidence/{request}          how a request was approved
//
// Where the config has more than one provider, the query says which one: ?issuer=URL.
// Links, factors and sessions are also those of customers whom the config names.
type adminAPI struct {
	// app finds the app of the config in use; nil if it has no provider. The API is
	// set up before there is one.
	app func() (*App, error)
}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.ciba_idp",
		New: func() caddy.Module { return &adminAPI{app: activeApp} },
	}
}

// activeApp is the app of the config in use.
func activeApp() (*App, error) {
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return app.(*App), nil
}

// Routes returns the routes of the admin API.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminBase, Handler: caddy.AdminHandlerFunc(a.serve)},
		{Pattern: adminBase + "/", Handler: caddy.AdminHandlerFunc(a.serve)},
		{Pattern: adminEvidence, Handler: caddy.AdminHandlerFunc(a.serveEvidence)},
	}
}

// adminCall is one call of the admin API.
type adminCall struct {
	*http.Request
	in   *instance
	name string // of the customer, or empty
	id   string // of a factor, or empty
}

// adminCalls are what the API does, by method and what the path names.
var adminCalls = map[string]func(adminCall) (any, error){
	"GET users":       adminCall.list,
	"POST users":      adminCall.create,
	"GET user":        adminCall.show,
	"PATCH user":      adminCall.change,
	"DELETE user":     adminCall.remove,
	"POST link":       adminCall.makeLink,
	"DELETE link":     adminCall.closeLink,
	"DELETE factors":  adminCall.removeFactors,
	"DELETE sessions": adminCall.endSessions,
}

// serve answers one call.
func (a *adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	what, call := parseAdminPath(r)
	if what == "" {
		return adminError(http.StatusNotFound, fmt.Errorf("no such resource: %s", r.URL.Path))
	}
	do, ok := adminCalls[r.Method+" "+what]
	if !ok {
		return adminError(http.StatusMethodNotAllowed, fmt.Errorf("method not allowed: %s", r.Method))
	}
	var err error
	call.in, err = a.instance(r.URL.Query().Get("issuer"))
	if err != nil {
		return err
	}
	answer, err := do(call)
	if err != nil {
		return adminFailure(err)
	}
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return writeAnswer(w, answer)
}

// serveEvidence tells what a customer was shown and how it was approved. The id of a
// request is in logs and events; it is not the auth_req_id.
func (a *adminAPI) serveEvidence(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return adminError(http.StatusMethodNotAllowed, fmt.Errorf("method not allowed: %s", r.Method))
	}
	in, err := a.instance(r.URL.Query().Get("issuer"))
	if err != nil {
		return err
	}
	evidence, err := in.approval.Evidence(r.Context(), strings.TrimPrefix(r.URL.Path, adminEvidence))
	if err != nil {
		return adminFailure(err)
	}
	if len(evidence) == 0 {
		return adminError(http.StatusNotFound, errors.New("there is no evidence of such an approval"))
	}
	return writeAnswer(w, evidence)
}

// writeAnswer writes an answer that nobody may keep.
func writeAnswer(w http.ResponseWriter, answer any) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}

// parseAdminPath says what the path names: users, user, link, factors or sessions, or
// nothing.
func parseAdminPath(r *http.Request) (string, adminCall) {
	call := adminCall{Request: r}
	rest := strings.TrimPrefix(r.URL.EscapedPath(), adminBase)
	if rest == "" || rest == "/" {
		return "users", call
	}
	parts := strings.Split(strings.TrimPrefix(rest, "/"), "/")
	for i := range parts {
		decoded, err := url.PathUnescape(parts[i])
		if err != nil || decoded == "" {
			return "", call
		}
		parts[i] = decoded
	}
	call.name = parts[0]
	switch {
	case len(parts) == 1:
		return "user", call
	case len(parts) == 2 && slices.Contains([]string{"link", "factors", "sessions"}, parts[1]):
		return parts[1], call
	case len(parts) == 3 && parts[1] == "factors":
		call.id = parts[2]
		return "factors", call
	}
	return "", call
}

// instance finds the provider that is meant.
func (a *adminAPI) instance(issuer string) (*instance, error) {
	app, err := a.app()
	if err != nil {
		return nil, adminError(http.StatusServiceUnavailable, err)
	}
	var found []*instance
	if app != nil {
		for _, e := range app.instances {
			if issuer == "" || e.issuer == issuer {
				found = append(found, e.instance)
			}
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, adminError(http.StatusBadRequest, errors.New("there is more than one provider; name one by its issuer"))
	case issuer != "":
		return nil, adminError(http.StatusNotFound, fmt.Errorf("there is no provider with the issuer %s", issuer))
	}
	return nil, adminError(http.StatusNotFound, errors.New("the config has no provider"))
}

// decode reads the JSON of a call, of which no member may be unknown.
func (c adminCall) decode(into any) error {
	decoder := json.NewDecoder(io.LimitReader(c.Body, maxAdminBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err != nil {
		return adminError(http.StatusBadRequest, fmt.Errorf("reading JSON: %w", err))
	}
	return nil
}

func adminError(status int, err error) error {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// adminFailure gives an error its status.
func adminFailure(err error) error {
	var told caddy.APIError
	switch {
	case errors.As(err, &told):
		return err
	case errors.Is(err, provider.ErrUserNotFound):
		return adminError(http.StatusNotFound, errors.New("there is no such user"))
	case errors.Is(err, factor.ErrNotFound):
		return adminError(http.StatusNotFound, errors.New("there is nothing of that kind"))
	case errors.Is(err, provider.ErrUserExists):
		return adminError(http.StatusConflict, errors.New("there is a user with this name or subject"))
	}
	return adminError(http.StatusServiceUnavailable, err)
}

// Interface guard
var _ caddy.AdminRouter = (*adminAPI)(nil)
