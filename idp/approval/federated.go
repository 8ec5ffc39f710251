package approval

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/approval/federation"
	"github.com/caddyciba/gateway/idp/provider"
)

// Federation is another OpenID Provider at which customers can prove who they are.
type Federation struct {
	// Issuer is the other provider. Its redirect URL is what FederationCallback
	// returns for its name. Required.
	Issuer *federation.Issuer

	// Title is what customers know it by. Default: its name.
	Title string

	// Claim is what tells who of our users somebody is over there: sub,
	// preferred_username, or another claim that is a text. It is safe only if
	// people over there cannot choose it. Default: sub.
	Claim string

	// BySubject says that Claim is the ID of the user, and not the user name.
	BySubject bool

	// Classes are the authentication context classes here, by those over there.
	// Default: a sign-in there stands for none.
	Classes map[string]string
}

// FederationCallback is the address below a public URL to which the provider of a
// name sends browsers back.
func FederationCallback(publicURL, name string) string {
	return publicURL + "/sign-in/with/" + name + "/callback"
}

const (
	// federationKind is the record kind of sign-ins elsewhere that have begun.
	federationKind = "idp.federation"

	// federationTime is how long one may take.
	federationTime = 10 * time.Minute

	// federationAttempts is how many may begin from one source within a window.
	federationAttempts = 300
)

var (
	errNoFlow      = errors.New("a sign-in that has not begun here, or is over")
	errOtherPerson = errors.New("another person has signed in elsewhere")
	errNotKnown    = errors.New("who has signed in elsewhere is not known here")
)

// federatedFlow is what the store keeps of a sign-in elsewhere.
type federatedFlow struct {
	Began   time.Time `json:"began"`
	Next    string    `json:"next"`
	Session string    `json:"session,omitempty"` // record of the session that wants a new proof
	Binding string    `json:"binding"`           // to the browser
}

// addFederations adds the addresses of the other providers.
func (a *App) addFederations() error {
	for _, f := range a.cfg.Federations {
		path := "/sign-in/with/" + f.Issuer.Name()
		if a.routes.fixed[path] != nil {
			return fmt.Errorf("two other providers are called '%s'", f.Issuer.Name())
		}
		a.routes.fixed[path] = &route{get: func(a *App, w http.ResponseWriter, r *http.Request, _ match) { a.signInElsewhere(w, r, f) }}
		a.routes.fixed["/prove/with/"+f.Issuer.Name()] = &route{get: func(a *App, w http.ResponseWriter, r *http.Request, _ match) { a.proveElsewhere(w, r, f) }}
		a.routes.fixed[path+"/callback"] = &route{get: func(a *App, w http.ResponseWriter, r *http.Request, _ match) { a.backFromElsewhere(w, r, f) }}
	}
	return nil
}

// signInElsewhere answers GET /sign-in/with/{name}.
func (a *App) signInElsewhere(w http.ResponseWriter, r *http.Request, f Federation) {
	next := a.safeNext(r.URL.Query().Get("next"))
	_, err := a.session(r)
	switch {
	case err == nil:
		http.Redirect(w, r, next, http.StatusSeeOther)
	case !errors.Is(err, errNoSession):
		a.fail(w, r, err)
	default:
		secret, ok := a.formSecret(w, r)
		if ok {
			a.goElsewhere(w, r, f, secret, federatedFlow{Next: next})
		}
	}
}

// proveElsewhere answers GET /prove/with/{name}: whoever is signed in proves it anew.
func (a *App) proveElsewhere(w http.ResponseWriter, r *http.Request, f Federation) {
	s, ok := a.signedIn(w, r)
	if ok {
		a.goElsewhere(w, r, f, s.secret, federatedFlow{Next: a.safeNext(r.URL.Query().Get("next")), Session: s.record.ID})
	}
}

// flow is a flow with its secrets, which only the browser's cookie can give.
func (d federatedFlow) flow(secret []byte, state string) federation.Flow {
	return federation.Flow{
		State: state, Nonce: formToken(secret, "federation nonce", state), Verifier: formToken(secret, "federation verifier", state),
		Began: d.Began, Fresh: d.Session != "",
	}
}

// goElsewhere sends the browser to the other provider.
func (a *App) goElsewhere(w http.ResponseWriter, r *http.Request, f Federation, secret []byte, d federatedFlow) {
	if r.Method != http.MethodGet {
		a.refuse(w, r, nil, http.StatusMethodNotAllowed, errMethod)
		return
	}
	err := a.takeAttempts(r.Context(), counter{id: counterID("federation", a.source(r)), limit: federationAttempts})
	if err != nil {
		a.refuseElsewhere(w, r, f, d, err)
		return
	}
	random, err := a.newSecret()
	if err != nil {
		a.fail(w, r, err)
		return
	}
	state := base64.RawURLEncoding.EncodeToString(random)
	d.Began, d.Binding = a.cfg.Now(), formToken(secret, "federation", f.Issuer.Name(), state)
	raw, err := json.Marshal(d)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	address, err := f.Issuer.Begin(r.Context(), d.flow(secret, state))
	if err != nil {
		a.refuseElsewhere(w, r, f, d, err)
		return
	}
	err = a.cfg.Store.Create(r.Context(), &store.Record{Kind: federationKind, ID: flowID(state), Data: raw, Expires: d.Began.Add(federationTime)})
	if err != nil {
		a.fail(w, r, err)
		return
	}
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// flowID is the id under which the store knows a state.
func flowID(state string) string { return sessionRecordID([]byte(state)) }

// takeFlow returns the flow of a state, with the secret of the browser that has begun
// it, and uses it up.
func (a *App) takeFlow(r *http.Request, f Federation, state string) (federatedFlow, []byte, error) {
	var d federatedFlow
	record, err := a.cfg.Store.Get(r.Context(), federationKind, flowID(state))
	if errors.Is(err, store.ErrNotFound) {
		return d, nil, errNoFlow
	}
	if err != nil {
		return d, nil, fmt.Errorf("reading a sign-in elsewhere: %w", err)
	}
	err = json.Unmarshal(record.Data, &d)
	if err != nil {
		return d, nil, fmt.Errorf("decoding a sign-in elsewhere: %w", err)
	}
	cookie := "form"
	if d.Session != "" {
		cookie = "session"
	}
	// The state alone is of no use to who has seen it: the browser must be the one.
	secret, ok := a.cookieSecret(r, cookie)
	if !ok || !hmac.Equal([]byte(d.Binding), []byte(formToken(secret, "federation", f.Issuer.Name(), state))) || !a.cfg.Now().Before(d.Began.Add(federationTime)) {
		return federatedFlow{}, nil, errNoFlow
	}
	err = a.cfg.Store.Delete(r.Context(), federationKind, record.ID, record.Version)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		return federatedFlow{}, nil, errNoFlow
	}
	if err != nil {
		return federatedFlow{}, nil, fmt.Errorf("ending a sign-in elsewhere: %w", err)
	}
	return d, secret, nil
}

// backFromElsewhere answers GET /sign-in/with/{name}/callback: the browser has come
// back from the other provider.
func (a *App) backFromElsewhere(w http.ResponseWriter, r *http.Request, f Federation) {
	if r.Method != http.MethodGet {
		a.refuse(w, r, nil, http.StatusMethodNotAllowed, errMethod)
		return
	}
	answer := r.URL.Query()
	d, secret, err := a.takeFlow(r, f, answer.Get("state"))
	if err != nil {
		a.refuseElsewhere(w, r, f, federatedFlow{Next: a.base + "/"}, err)
		return
	}
	user, p, err := a.provenElsewhere(r.Context(), f, d.flow(secret, answer.Get("state")), r)
	if err == nil && d.Session != "" {
		var s *session
		s, err = a.session(r)
		if err == nil && (s.record.ID != d.Session || s.user.ID != user.ID) {
			err = errOtherPerson
		}
	}
	if err != nil {
		a.refuseElsewhere(w, r, f, d, err)
		return
	}
	a.admit(w, r, user, p, d.Next)
}

// provenElsewhere returns who of our users has proven what over there.
func (a *App) provenElsewhere(ctx context.Context, f Federation, flow federation.Flow, r *http.Request) (*provider.User, proof, error) {
	identity, err := f.Issuer.Finish(ctx, flow, r.URL.Query())
	if err != nil {
		return nil, proof{}, err
	}
	name, err := identity.Claim(ctx, f.claim())
	if err != nil {
		return nil, proof{}, err
	}
	find := a.cfg.Users.ByLogin
	if f.BySubject {
		find = a.cfg.Users.BySubject
	}
	var user *provider.User
	if name != "" {
		user, err = find(ctx, name)
	}
	switch {
	case isUnknownUser(user, err):
		return nil, proof{}, errNotKnown
	case err != nil:
		return nil, proof{}, fmt.Errorf("reading the user: %w", err)
	case user.Disabled, f.BySubject && user.ID != name:
		return nil, proof{}, errNotKnown
	}
	p := proof{Method: methodFederated, AMR: identity.AMR, At: identity.AuthTime, Federation: f.Issuer.Name()}
	class := f.Classes[identity.ACR]
	if class != "" {
		p.More = []string{class}
	}
	return user, p, nil
}

func (f Federation) claim() string {
	if f.Claim == "" {
		return "sub"
	}
	return f.Claim
}

func (f Federation) title() string {
	if f.Title == "" {
		return f.Issuer.Name()
	}
	return f.Title
}

// refuseElsewhere answers for a sign-in elsewhere that came to nothing: with the
// sign-in page, or for who is signed in with a page that says so.
func (a *App) refuseElsewhere(w http.ResponseWriter, r *http.Request, f Federation, d federatedFlow, err error) {
	var throttled *throttledError
	status, message, wait := http.StatusForbidden, "federation.failed", time.Duration(0)
	switch {
	case errors.As(err, &throttled):
		status, message, wait = http.StatusTooManyRequests, "error.throttled", throttled.Wait
		setRetryAfter(w, wait)
	case errors.Is(err, errNotKnown):
		message = "federation.unknown"
	case errors.Is(err, errOtherPerson):
		message = "federation.other"
	case errors.Is(err, errNoFlow), errors.Is(err, errNoSession):
		message = "federation.over"
	case errors.Is(err, federation.ErrRefused):
		message = "federation.refused"
	case errors.Is(err, federation.ErrUnavailable):
		status, message = http.StatusServiceUnavailable, "federation.down"
	case errors.Is(err, federation.ErrMismatch):
	default:
		a.fail(w, r, err)
		return
	}
	a.cfg.Logger.Warn("sign-in elsewhere refused", zap.String("with", f.Issuer.Name()), zap.String("source", a.source(r)), errField(err))
	s, err := a.session(r)
	if err == nil {
		a.renderProve(w, r, status, s, proveView{Next: d.Next, Error: message, Wait: a.locale(r).duration(roundUp(wait, time.Minute))})
		return
	}
	a.renderSignIn(w, r, status, signInView{Next: d.Next, Error: message, Wait: a.locale(r).duration(roundUp(wait, time.Minute))})
}
