package caddyciba

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/caddyciba/stepup"
	"github.com/caddyciba/gateway/caddyciba/store"
)

const (
	// adminBase is where the endpoints for operators are, below Caddy's admin API.
	adminBase = "/ciba/"

	// adminPage is how many transactions are listed at once, and adminMaxPage how
	// many can be asked for.
	adminPage    = 100
	adminMaxPage = 1000

	// maxAdminBody bounds the body of a request of an operator.
	maxAdminBody = 16 << 10
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI lets operators see transactions, stop them, and write down what became
// of those in doubt:
//
//	GET  /ciba/check                          what caddy ciba check prints, as JSON
//	POST /ciba/dpop-key/rotate?issuer=URL     new keys for proofs (RFC 9449)
//	GET  /ciba/transactions?state=S&after=ID&limit=N
//	GET  /ciba/transactions/ID
//	POST /ciba/transactions/ID/cancel
//	POST /ciba/transactions/ID/resolve        {"outcome": "executed", "note": "…"}
//
// It is as protected as Caddy's admin API is. What it shows names no customer and
// no caller, has no body and no token, and opens nothing.
type adminAPI struct {
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.ciba",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Provision takes the logger. The app belongs to the configuration that is active
// when a request comes.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger(a)
	return nil
}

// Routes implements caddy.AdminRouter.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminBase, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// activeApp is the app of the configuration that is active now.
func activeApp() (*App, error) {
	module, err := caddy.ActiveContext().AppIfConfigured("ciba")
	app, ok := module.(*App)
	if err != nil || !ok || app.journal == nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no gate and no global option ciba is configured")}
	}
	return app, nil
}

func (a *adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	app, err := activeApp()
	if err != nil {
		return err
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, adminBase), "/")
	resource := parts[0]
	switch {
	case resource == "check" && len(parts) == 1:
		err = allow(r, http.MethodGet)
		if err != nil {
			return err
		}
		return answerJSON(w, append(app.check(r.Context()), app.checkStore(r.Context())))
	case resource == "dpop-key" && len(parts) == 2 && parts[1] == "rotate":
		err = allow(r, http.MethodPost)
		if err != nil {
			return err
		}
		rotated, err := app.rotateProofKeys(r.Context(), r.URL.Query().Get("issuer"))
		if err != nil {
			return err
		}
		return answerJSON(w, rotated)
	case resource == "transactions" && len(parts) == 1:
		err = allow(r, http.MethodGet)
		if err != nil {
			return err
		}
		return a.list(w, r, app.journal)
	case resource == "transactions" && len(parts) == 2:
		err = allow(r, http.MethodGet)
		if err != nil {
			return err
		}
		t, err := app.journal.Get(r.Context(), parts[1])
		if err != nil {
			return adminError(err)
		}
		return answerJSON(w, t)
	case resource == "transactions" && len(parts) == 3 && parts[2] == "cancel":
		return a.cancel(w, r, app, parts[1])
	case resource == "transactions" && len(parts) == 3 && parts[2] == "resolve":
		return a.resolve(w, r, app, parts[1])
	}
	return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("resource not found: %s", r.URL.Path)}
}

func allow(r *http.Request, method string) error {
	if r.Method == method {
		return nil
	}
	return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method not allowed: %s", r.Method)}
}

// list answers with the transactions in one state, or in all of them.
func (a *adminAPI) list(w http.ResponseWriter, r *http.Request, j *stepup.Journal) error {
	query := r.URL.Query()
	limit := adminPage
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > adminMaxPage {
			return badRequest("limit must be between 1 and %d", adminMaxPage)
		}
		limit = n
	}
	states := stepup.States()
	if text := query.Get("state"); text != "" {
		if !slices.Contains(states, stepup.State(text)) {
			return badRequest("unknown state %q: there are %v", text, states)
		}
		states = []stepup.State{stepup.State(text)}
	}
	if query.Get("after") != "" && len(states) > 1 {
		return badRequest("after needs a state")
	}
	list := []*stepup.Transaction{}
	for _, state := range states {
		if len(list) == limit {
			break
		}
		page, err := j.List(r.Context(), state, query.Get("after"), limit-len(list))
		if err != nil {
			return adminError(err)
		}
		list = append(list, page...)
	}
	return answerJSON(w, list)
}

func (a *adminAPI) cancel(w http.ResponseWriter, r *http.Request, app *App, id string) error {
	err := allow(r, http.MethodPost)
	if err != nil {
		return err
	}
	t, err := app.cancel(r.Context(), id)
	if err != nil {
		return adminError(err)
	}
	app.noteOperator(r.Context(), operatorCancelled, t, "", "")
	a.logger.Info("an operator has cancelled a transaction", zap.String("transaction", id))
	return answerJSON(w, t)
}

// cancel has the gate that serves a transaction cancel it, for the caller to be told
// and the question to be withdrawn. Without a gate, only the transaction ends.
func (a *App) cancel(ctx context.Context, id string) (*stepup.Transaction, error) {
	t, err := a.journal.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	engines := enginesOf(a.engine.Key())
	i := slices.IndexFunc(engines, func(g *stepup.Gate) bool { return g.Serves(id) })
	if i < 0 {
		i = slices.IndexFunc(engines, func(g *stepup.Gate) bool { return g.Name() == t.Gate })
	}
	if i < 0 {
		return a.journal.Cancel(ctx, id)
	}
	return engines[i].Cancel(ctx, id)
}

func (a *adminAPI) resolve(w http.ResponseWriter, r *http.Request, app *App, id string) error {
	err := allow(r, http.MethodPost)
	if err != nil {
		return err
	}
	var asked struct {
		Outcome stepup.Outcome `json:"outcome"`
		Note    string         `json:"note"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdminBody))
	dec.DisallowUnknownFields()
	err = dec.Decode(&asked)
	if err != nil {
		return badRequest("reading body: %v", err)
	}
	_, err = dec.Token()
	if !errors.Is(err, io.EOF) {
		return badRequest("reading body: more than one value")
	}
	t, err := app.journal.Resolve(r.Context(), id, asked.Outcome, asked.Note)
	if err != nil {
		return adminError(err)
	}
	app.noteOperator(r.Context(), operatorResolved, t, string(asked.Outcome), asked.Note)
	a.logger.Info("an operator has resolved a transaction in doubt",
		zap.String("transaction", id), zap.String("outcome", string(asked.Outcome)), zap.String("note", asked.Note))
	return answerJSON(w, t)
}

func badRequest(format string, args ...any) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf(format, args...)}
}

// adminError gives an error of the journal its status.
func adminError(err error) error {
	status := http.StatusServiceUnavailable
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrInvalid):
		status = http.StatusNotFound
	case errors.Is(err, stepup.ErrInvalidResolution):
		status = http.StatusBadRequest
	case errors.Is(err, stepup.ErrTooLate), errors.Is(err, stepup.ErrNotInDoubt):
		status = http.StatusConflict
	}
	return caddy.APIError{HTTPStatus: status, Err: err}
}

func answerJSON(w http.ResponseWriter, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(encoded, '\n'))
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner = (*adminAPI)(nil)
	_ caddy.AdminRouter = (*adminAPI)(nil)
)
