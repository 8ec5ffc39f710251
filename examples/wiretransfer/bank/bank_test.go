package bank

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// testLedger is a ledger with one account of 1000.00 EUR.
func testLedger() *Ledger {
	now := func() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) }
	return NewLedger(now, Account{ID: "1001", CustomerID: "alice", Holder: "Alice Arnold", Currency: "EUR", Opening: 100000})
}

func TestParseCents(t *testing.T) {
	good := map[string]Cents{"250": 25000, "250.5": 25050, "250.00": 25000, "0.01": 1, "1000000000": 100000000000}
	for text, want := range good {
		got, err := ParseCents(text)
		if err != nil || got != want {
			t.Errorf("ParseCents(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "0.00", "-1", "+1", "1e3", "1.", ".5", "1.234", "1,00", "1 000", "٣", "1000000001", "99999999999999999999"} {
		got, err := ParseCents(text)
		if err == nil {
			t.Errorf("ParseCents(%q) = %v, want an error", text, got)
		}
	}
}

func TestCentsInJSON(t *testing.T) {
	for _, c := range []Cents{0, 1, -1, 25000, -123456} {
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back Cents
		err = json.Unmarshal(text, &back)
		if err != nil || back != c {
			t.Errorf("%d became %s and then %d, %v", c, text, back, err)
		}
	}
}

func TestTransferAnswers(t *testing.T) {
	const body = `{"debtor":{"customer_id":"alice"},"creditor":{"name":"Blue Bikes","iban":"GB33BUKB20201555555555"},"amount":250.00,"currency":"EUR"}`
	cases := []struct {
		name, body string
		status     int
		booked     int
	}{
		{"number", body, http.StatusCreated, 1},
		{"digits in a string", strings.Replace(body, "250.00", `"250.00"`, 1), http.StatusCreated, 1},
		{"not JSON", "amount=250", http.StatusBadRequest, 0},
		{"no amount", strings.Replace(body, `"amount":250.00,`, "", 1), http.StatusBadRequest, 0},
		{"negative", strings.Replace(body, "250.00", "-250.00", 1), http.StatusBadRequest, 0},
		{"exponent", strings.Replace(body, "250.00", "25e1", 1), http.StatusBadRequest, 0},
		{"no creditor", strings.Replace(body, "Blue Bikes", "", 1), http.StatusBadRequest, 0},
		{"unknown customer", strings.Replace(body, "alice", "mallory", 1), http.StatusUnprocessableEntity, 0},
		{"other currency", strings.Replace(body, "EUR", "USD", 1), http.StatusUnprocessableEntity, 0},
		{"more than there is", strings.Replace(body, "250.00", "1000.01", 1), http.StatusUnprocessableEntity, 0},
		{"body over the limit", body + strings.Repeat(" ", maxBody), http.StatusBadRequest, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ledger := testLedger()
			api := New(ledger, NewIdentity("http://localhost", "", nil, nil))
			w := httptest.NewRecorder()
			api.ServeHTTP(w, httptest.NewRequest("POST", "/v1/transfers", strings.NewReader(c.body)))
			if w.Code != c.status {
				t.Errorf("status %d, want %d: %s", w.Code, c.status, w.Body)
			}
			if got := len(ledger.Transfers()); got != c.booked {
				t.Errorf("%d booked, want %d", got, c.booked)
			}
		})
	}
}

func TestLedgerKeepsEveryTransfer(t *testing.T) {
	ledger := testLedger()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			ledger.Book("alice", Transfer{Amount: 10000, Currency: "EUR"})
		})
	}
	wg.Wait()
	account, ok := ledger.Account("1001")
	if !ok || account.Balance != 0 || len(account.Ledger) != 10 {
		t.Errorf("balance %v with %d bookings, want 0.00 with 10", account.Balance, len(account.Ledger))
	}
	for i, booked := range ledger.Transfers() {
		if i > 0 && booked.ID <= ledger.Transfers()[i-1].ID {
			t.Errorf("transfer %d has id %s, not above the one before", i, booked.ID)
		}
	}
}

func TestAccounts(t *testing.T) {
	api := New(testLedger(), NewIdentity("http://localhost", "", nil, nil))
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/v1/accounts":      {200, `"balance": 1000.00`},
		"/v1/accounts/1001": {200, `"holder": "Alice Arnold"`},
		"/v1/accounts/9":    {404, `"error": "no such account"`},
		"/v1/transfers":     {200, `"transfers": `},
		"/elsewhere":        {404, ``},
	} {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want.status || !strings.Contains(w.Body.String(), want.text) {
			t.Errorf("GET %s: %d %s; want %d with %s", path, w.Code, w.Body, want.status, want.text)
		}
	}
}
