package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/examples/wiretransfer/bank"
)

// TestLedgerCheckNotices books a transfer behind the gateway's back, as a hole
// in it would, and expects the check to notice. Without this, -auto could pass
// because it looks at nothing.
func TestLedgerCheckNotices(t *testing.T) {
	p := startExample(t)
	s, err := newStage(p, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	err = s.checkLedger(t.Context())
	if err != nil {
		t.Fatalf("an empty ledger: %v", err)
	}
	o := newOrder("250.00", "Invoice 4711")
	resp, err := http.Post(p.bankURL()+transfers, "application/json", strings.NewReader(o.body()))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("the bank answered %s", resp.Status)
	}
	err = s.checkLedger(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the bank booked 1 transfers, the customer approved 0") {
		t.Errorf("a transfer that nobody approved: %v", err)
	}
	s.expect(o)
	err = s.checkLedger(t.Context())
	if err == nil || !strings.Contains(err.Error(), "access token") {
		t.Errorf("a transfer without the customer's token: %v", err)
	}
}

func TestBookingMatches(t *testing.T) {
	o := newOrder("250.00", "Invoice 4711")
	approved := booking{order: o, body: o.body()}
	sum := sha256.Sum256([]byte(o.body()))
	good := bank.Transfer{
		Amount: 25000, Currency: "EUR", TokenSubject: alice, ReceivedSHA256: hex.EncodeToString(sum[:]),
		Creditor: bank.Creditor{Name: o.Creditor.Name, IBAN: o.Creditor.IBAN},
	}
	err := approved.matches(good)
	if err != nil {
		t.Errorf("what was approved: %v", err)
	}
	for name, change := range map[string]func(*bank.Transfer){
		"amount":   func(b *bank.Transfer) { b.Amount++ },
		"currency": func(b *bank.Transfer) { b.Currency = "USD" },
		"creditor": func(b *bank.Transfer) { b.Creditor.Name = "Mallory" },
		"IBAN":     func(b *bank.Transfer) { b.Creditor.IBAN = "DE00" },
		"bytes":    func(b *bank.Transfer) { b.ReceivedSHA256 = strings.Repeat("0", 64) },
		"token":    func(b *bank.Transfer) { b.TokenSubject = "bob" },
	} {
		changed := good
		change(&changed)
		err := approved.matches(changed)
		if err == nil {
			t.Errorf("another %s was not noticed", name)
		}
	}
}
