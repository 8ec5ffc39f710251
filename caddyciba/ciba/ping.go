package ciba

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// maxNotification bounds the body of a notification.
const maxNotification = 64 << 10

// PingHandler returns the notification endpoint of a client in ping mode (CIBA
// Core section 10.2). Serve it over https at the address that the provider has
// registered for the client.
//
// A notification is taken if it shows the notification token of the very request
// that it names; it is answered by 204, and the request is polled then. It is
// never redirected, and nothing that it carries is used but the auth_req_id. The
// answers to others have no body: 405 (not POST), 401 (no token, a token that is
// not known, or one of another request), 415 (not JSON), 413 (above 64 KiB), 400
// (no valid auth_req_id, one that is not known, or tokens in the body), 503 (the
// request could not be looked up).
func PingHandler(n Notifications) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received, ok := receiveNotification(w, r, n, "access_token", "id_token", "refresh_token", "error")
		if !ok {
			return
		}
		// The answer goes out before anything comes of the notification.
		w.WriteHeader(http.StatusNoContent)
		_ = http.NewResponseController(w).Flush()
		// The provider may leave once it has its answer. A ping that gets lost
		// here delays the poll and loses nothing.
		_ = n.Ping(context.WithoutCancel(r.Context()), HashNotification(received.token))
	})
}

// notification is what a notification that is in order has brought.
type notification struct {
	token, id string
	raw       []byte
	body      object
}

// receiveNotification reads a notification and finds out whom it is for. It
// answers the request itself if the notification is not in order. A body with one
// of the refused members is not.
func receiveNotification(w http.ResponseWriter, r *http.Request, n Notifications, refused ...string) (*notification, bool) {
	w.Header().Set("Cache-Control", "no-store")
	got := &notification{}
	expected, status := got.authenticate(w, r, n)
	if status != 0 {
		w.WriteHeader(status)
		return nil, false
	}
	status = got.read(w, r, refused)
	if status != 0 {
		w.WriteHeader(status)
		return nil, false
	}
	request := HashNotification(got.id)
	if subtle.ConstantTimeCompare(request[:], expected[:]) == 1 {
		return got, true
	}
	known, err := n.Known(r.Context(), request)
	switch {
	case err != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
	case known:
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
	return nil, false
}

// authenticate finds out which request the notification token stands for, or the
// status to answer with.
func (got *notification) authenticate(w http.ResponseWriter, r *http.Request, n Notifications) (NotificationHash, int) {
	var none NotificationHash
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return none, http.StatusMethodNotAllowed
	}
	token, ok := bearer(r.Header)
	if !ok {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return none, http.StatusUnauthorized
	}
	got.token = token
	expected, err := n.Expected(r.Context(), HashNotification(token))
	switch {
	case errors.Is(err, ErrUnknownNotification):
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		return none, http.StatusUnauthorized
	case err != nil:
		return none, http.StatusServiceUnavailable
	}
	return expected, 0
}

// bearer returns the token of the one Authorization header.
func bearer(header http.Header) (string, bool) {
	values := header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	return token, strings.EqualFold(scheme, "Bearer") && isBearerToken(token)
}

// read takes the body, or returns the status to answer with.
func (got *notification) read(w http.ResponseWriter, r *http.Request, refused []string) int {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" || r.Header.Get("Content-Encoding") != "" {
		return http.StatusUnsupportedMediaType
	}
	got.raw, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxNotification))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	if err != nil {
		return http.StatusBadRequest
	}
	got.body, err = parseObject(got.raw)
	if err != nil {
		return http.StatusBadRequest
	}
	got.id, err = got.body.text("auth_req_id")
	if err != nil || !isAuthReqID(got.id) || slices.ContainsFunc(refused, got.body.has) {
		return http.StatusBadRequest
	}
	return 0
}
