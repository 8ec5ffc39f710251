package bank

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// maxBody bounds a request body, in bytes.
const maxBody = 64 << 10

// Bank is the HTTP API. It is safe for concurrent use.
type Bank struct {
	ledger   *Ledger
	identity *Identity
	mux      *http.ServeMux
}

// New returns the API over a ledger. The identity reads Bearer tokens.
//
//	POST /v1/transfers          books a transfer: 201 with the booking
//	POST /v1/instant-transfers  the same, for payments that must be done in seconds
//	GET  /v1/transfers          every booking, oldest first
//	GET  /v1/accounts           the accounts with their balances
//	GET  /v1/accounts/{id}      one account with its ledger
//	GET  /identity              the claims of the Bearer token that came along
func New(ledger *Ledger, identity *Identity) *Bank {
	b := &Bank{ledger: ledger, identity: identity, mux: http.NewServeMux()}
	b.mux.HandleFunc("POST /v1/transfers", b.transfer)
	b.mux.HandleFunc("POST /v1/instant-transfers", b.transfer)
	b.mux.HandleFunc("GET /v1/transfers", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"transfers": ledger.Transfers()})
	})
	b.mux.HandleFunc("GET /v1/accounts", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"accounts": ledger.Accounts()})
	})
	b.mux.HandleFunc("GET /v1/accounts/{id}", b.account)
	b.mux.HandleFunc("GET /identity", b.whoami)
	return b
}

// ServeHTTP answers one request.
func (b *Bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "CoreBanking/7.2")
	b.mux.ServeHTTP(w, r)
}

// transferRequest is the body of a transfer. The amount may be a number or a
// string of digits, as old clients send both.
type transferRequest struct {
	Debtor struct {
		CustomerID string `json:"customer_id"`
	} `json:"debtor"`
	Creditor  Creditor    `json:"creditor"`
	Amount    json.Number `json:"amount"`
	Currency  string      `json:"currency"`
	Reference string      `json:"reference"`
}

func (b *Bank) transfer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		writeError(w, http.StatusBadRequest, "body could not be read")
		return
	}
	var req transferRequest
	err = json.Unmarshal(body, &req)
	if err != nil {
		writeError(w, http.StatusBadRequest, "body is not a transfer")
		return
	}
	amount, err := ParseCents(req.Amount.String())
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	if req.Creditor.Name == "" || req.Creditor.IBAN == "" {
		writeError(w, http.StatusBadRequest, "creditor needs a name and an IBAN")
		return
	}
	sum := sha256.Sum256(body)
	booked, err := b.ledger.Book(req.Debtor.CustomerID, Transfer{
		Creditor:       req.Creditor,
		Amount:         amount,
		Currency:       req.Currency,
		Reference:      req.Reference,
		TokenSubject:   b.subject(r),
		ReceivedSHA256: hex.EncodeToString(sum[:]),
	})
	switch {
	case errors.Is(err, errNoAccount), errors.Is(err, errFunds):
		writeError(w, http.StatusUnprocessableEntity, err.Error())
	case err != nil:
		writeError(w, http.StatusInternalServerError, "booking failed")
	default:
		w.Header().Set("Location", "/v1/transfers/"+booked.ID)
		writeJSON(w, http.StatusCreated, booked)
	}
}

func (b *Bank) account(w http.ResponseWriter, r *http.Request) {
	account, ok := b.ledger.Account(r.PathValue("id"))
	if !ok {
		writeError(w, http.StatusNotFound, "no such account")
		return
	}
	writeJSON(w, http.StatusOK, account)
}

// whoami is the endpoint that the CIBA tutorial's API has: it shows the claims
// of the token, so that one can see on whose behalf a request was made.
func (b *Bank) whoami(w http.ResponseWriter, r *http.Request) {
	token, ok := bearer(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="bank"`)
		writeError(w, http.StatusUnauthorized, "no bearer token")
		return
	}
	claims, err := b.identity.Verify(r.Context(), token)
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="bank", error="invalid_token"`)
		writeError(w, http.StatusUnauthorized, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, claims)
}

// subject is whose token came with the request, as far as that can be told.
func (b *Bank) subject(r *http.Request) string {
	token, ok := bearer(r)
	if !ok {
		return ""
	}
	claims, err := b.identity.Verify(r.Context(), token)
	if err != nil {
		return ""
	}
	sub, _ := claims["sub"].(string)
	return sub
}

// bearer returns the token of an Authorization header of that scheme.
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", false
	}
	return token, true
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"error": message})
}

// writeJSON writes one indented line per member, so that curl's output reads well.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "encoding the answer failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
