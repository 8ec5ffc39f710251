package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"text/tabwriter"

	"github.com/caddyciba/gateway/examples/wiretransfer/bank"
)

// checkLedger compares what the bank has booked with what was approved: as
// many transfers, in the same order, each byte for byte and with the token of
// the customer who approved it.
func (s *stage) checkLedger(ctx context.Context) error {
	booked, err := s.ledger(ctx)
	if err != nil {
		return err
	}
	if len(booked) != len(s.approved) {
		return fmt.Errorf("the bank booked %d transfers, the customer approved %d", len(booked), len(s.approved))
	}
	for i, b := range s.approved {
		err := b.matches(booked[i])
		if err != nil {
			return fmt.Errorf("transfer %s: %w", booked[i].ID, err)
		}
	}
	return nil
}

// matches tells whether the bank booked what was approved.
func (b booking) matches(t bank.Transfer) error {
	amount, err := bank.ParseCents(b.order.Amount.String())
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(b.body))
	switch {
	case t.Amount != amount || t.Currency != b.order.Currency:
		return fmt.Errorf("booked %s %s, approved %s %s", t.Amount, t.Currency, amount, b.order.Currency)
	case t.Creditor.IBAN != b.order.Creditor.IBAN || t.Creditor.Name != b.order.Creditor.Name:
		return fmt.Errorf("paid to %s, approved for %s", t.Creditor.Name, b.order.Creditor.Name)
	case t.ReceivedSHA256 != hex.EncodeToString(sum[:]):
		return fmt.Errorf("the bank received other bytes than the teller sent")
	case t.TokenSubject != b.order.Debtor.CustomerID:
		return fmt.Errorf("the bank received the access token of %q, not of %q", t.TokenSubject, b.order.Debtor.CustomerID)
	}
	return nil
}

// showLedger prints the customer's account and checks its balance.
func (s *stage) showLedger(ctx context.Context) error {
	var account bank.Account
	err := s.askBank(ctx, "/v1/accounts/10001", &account)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "   opening balance\t\t\t%12s %s\n", account.Opening, account.Currency)
	expected := account.Opening
	for _, t := range account.Ledger {
		fmt.Fprintf(w, "   %s\t%s\t%s\t%12s %s\n", t.ID, t.Creditor.Name, t.Reference, -t.Amount, t.Currency)
	}
	fmt.Fprintf(w, "   balance\t\t\t%12s %s\n", account.Balance, account.Currency)
	err = w.Flush()
	if err != nil {
		return err
	}
	for _, b := range s.approved {
		amount, err := bank.ParseCents(b.order.Amount.String())
		if err != nil {
			return err
		}
		expected -= amount
	}
	if account.Balance != expected {
		return fmt.Errorf("the balance is %s, and %s by what was approved", account.Balance, expected)
	}
	return nil
}
