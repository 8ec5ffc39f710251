package ciba

import (
	"crypto/sha256"
	"errors"
	"io"
	"mime"
	"net/http"
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
		id, _, ok := receiveNotification(w, r, n, "access_token", "id_token", "refresh_token", "error")
		if !ok {
			return
		}
		// The answer goes out before anything comes of the notification.
		w.WriteHeader(http.StatusNoContent)
		_ = http.NewResponseController(w).Flush()
		// A ping that gets lost here delays the poll and loses nothing.
		_ = n.Ping(r.Context(), id)
	})
}

// receiveNotification reads a notification and finds out whom it is for. It
// answers the request itself if the notification is not in order. A body with one
// of the refused members is not.
func receiveNotification(w http.ResponseWriter, r *http.Request, n Notifications, refused ...string) (string, object, bool) {
	w.Header().Set("Cache-Control", "no-store")
	expected, status := authenticateNotification(w, r, n)
	if status != 0 {
		w.WriteHeader(status)
		return "", nil, false
	}
	body, status := readNotification(w, r)
	if status != 0 {
		w.WriteHeader(status)
		return "", nil, false
	}
	id, err := body.text("auth_req_id")
	if err != nil || !isAuthReqID(id) {
		w.WriteHeader(http.StatusBadRequest)
		return "", nil, false
	}
	for _, name := range refused {
		if body.has(name) {
			w.WriteHeader(http.StatusBadRequest)
			return "", nil, false
		}
	}
	if id == expected {
		return id, body, true
	}
	known, err := n.Known(r.Context(), id)
	switch {
	case err != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
	case known:
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
	return "", nil, false
}

// authenticateNotification returns the auth_req_id that the notification token
// stands for, or the status to answer with.
func authenticateNotification(w http.ResponseWriter, r *http.Request, n Notifications) (string, int) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return "", http.StatusMethodNotAllowed
	}
	token, ok := bearer(r.Header)
	if !ok {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return "", http.StatusUnauthorized
	}
	expected, err := n.Expected(r.Context(), sha256.Sum256([]byte(token)))
	switch {
	case errors.Is(err, ErrUnknownNotification):
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		return "", http.StatusUnauthorized
	case err != nil:
		return "", http.StatusServiceUnavailable
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

// readNotification returns the body, or the status to answer with.
func readNotification(w http.ResponseWriter, r *http.Request) (object, int) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" || r.Header.Get("Content-Encoding") != "" {
		return nil, http.StatusUnsupportedMediaType
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNotification))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, http.StatusRequestEntityTooLarge
	}
	if err != nil {
		return nil, http.StatusBadRequest
	}
	body, err := parseObject(data)
	if err != nil {
		return nil, http.StatusBadRequest
	}
	return body, 0
}
