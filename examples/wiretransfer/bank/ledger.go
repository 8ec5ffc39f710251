package bank

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Account is a customer's account with everything that was ever booked on it.
type Account struct {
	ID         string     `json:"id"`
	CustomerID string     `json:"customer_id"`
	Holder     string     `json:"holder"`
	Currency   string     `json:"currency"`
	Opening    Cents      `json:"opening_balance"`
	Balance    Cents      `json:"balance"`
	Ledger     []Transfer `json:"ledger,omitempty"`
}

// Transfer is one booked transfer.
type Transfer struct {
	ID        string    `json:"transfer_id"`
	Status    string    `json:"status"`
	BookedAt  time.Time `json:"booked_at"`
	Account   string    `json:"account"`
	Creditor  Creditor  `json:"creditor"`
	Amount    Cents     `json:"amount"`
	Currency  string    `json:"currency"`
	Reference string    `json:"reference,omitempty"`

	// TokenSubject is the customer whose access token came with the request;
	// empty if none came or it did not verify. The bank notes it and asks for
	// nothing: a token was not a thing when this API was designed.
	TokenSubject string `json:"token_subject,omitempty"`

	// ReceivedSHA256 is the hash of the request body as it arrived, in hex.
	ReceivedSHA256 string `json:"received_sha256"`
}

// Creditor is who is paid.
type Creditor struct {
	Name string `json:"name"`
	IBAN string `json:"iban"`
}

// Errors of a booking.
var (
	errNoAccount = errors.New("customer has no account in this currency")
	errFunds     = errors.New("insufficient funds")
)

// Ledger holds accounts and transfers in memory. It is safe for concurrent use.
type Ledger struct {
	now func() time.Time

	mu        sync.Mutex
	accounts  []*Account // in the order they were opened
	transfers []Transfer // in the order they were booked
}

// NewLedger returns a ledger with the given accounts, each with its opening
// balance and nothing booked. A nil now means time.Now.
func NewLedger(now func() time.Time, accounts ...Account) *Ledger {
	if now == nil {
		now = time.Now
	}
	l := &Ledger{now: now}
	for _, a := range accounts {
		a.Balance = a.Opening
		a.Ledger = nil
		l.accounts = append(l.accounts, &a)
	}
	return l
}

// Accounts returns all accounts without their bookings.
func (l *Ledger) Accounts() []Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Account, 0, len(l.accounts))
	for _, a := range l.accounts {
		all = append(all, *a)
	}
	return all
}

// Account returns one account with everything booked on it.
func (l *Ledger) Account(id string) (Account, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.accounts, func(a *Account) bool { return a.ID == id })
	if i < 0 {
		return Account{}, false
	}
	account := *l.accounts[i]
	for _, t := range l.transfers {
		if t.Account == id {
			account.Ledger = append(account.Ledger, t)
		}
	}
	return account, true
}

// Transfers returns every booked transfer, oldest first.
func (l *Ledger) Transfers() []Transfer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.transfers)
}

// Book takes the amount from the customer's account and keeps the transfer. It
// fills in what only the ledger knows: id, status, time and account.
func (l *Ledger) Book(customerID string, t Transfer) (Transfer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.accounts, func(a *Account) bool {
		return a.CustomerID == customerID && a.Currency == t.Currency
	})
	if i < 0 {
		return Transfer{}, errNoAccount
	}
	account := l.accounts[i]
	if account.Balance < t.Amount {
		return Transfer{}, errFunds
	}
	account.Balance -= t.Amount
	t.ID = fmt.Sprintf("T%06d", len(l.transfers)+1)
	t.Status = "booked"
	t.BookedAt = l.now().UTC().Truncate(time.Millisecond)
	t.Account = account.ID
	l.transfers = append(l.transfers, t)
	return t, nil
}
