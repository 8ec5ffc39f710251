package bank

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Cents is an amount of money in hundredths of its currency's unit. The bank
// never computes with floating point numbers.
type Cents int64

// maxUnits bounds an amount so that no sum of balances can overflow.
const maxUnits = 1_000_000_000

var errAmount = errors.New("amount must be a positive decimal number with at most two decimals")

// ParseCents reads a positive decimal amount such as "250", "250.5" or
// "250.00". Signs, exponents, separators and more than two decimals are refused.
func ParseCents(s string) (Cents, error) {
	units, decimals, pointed := strings.Cut(s, ".")
	if pointed && decimals == "" || len(decimals) > 2 || !digits(units) || !digits(decimals+"0") {
		return 0, errAmount
	}
	whole, err := strconv.ParseInt(units, 10, 64)
	if err != nil || whole > maxUnits {
		return 0, errAmount
	}
	hundredths, err := strconv.ParseInt((decimals + "00")[:2], 10, 64)
	if err != nil {
		return 0, errAmount
	}
	c := Cents(whole*100 + hundredths)
	if c == 0 {
		return 0, errAmount
	}
	return c, nil
}

// String returns the amount with two decimals, for example "250.00".
func (c Cents) String() string {
	sign := ""
	if c < 0 {
		sign, c = "-", -c
	}
	return fmt.Sprintf("%s%d.%02d", sign, c/100, c%100)
}

// MarshalJSON writes the amount as a JSON number with two decimals.
func (c Cents) MarshalJSON() ([]byte, error) {
	return []byte(c.String()), nil
}

// UnmarshalJSON reads a JSON number as ParseCents does, with an optional minus
// sign, so that a client can read the balances that MarshalJSON wrote.
func (c *Cents) UnmarshalJSON(b []byte) error {
	text, negative := strings.CutPrefix(string(b), "-")
	if text == "0.00" {
		*c = 0
		return nil
	}
	parsed, err := ParseCents(text)
	if err != nil {
		return err
	}
	if negative {
		parsed = -parsed
	}
	*c = parsed
	return nil
}

// digits reports whether s has one or more ASCII digits and nothing else.
func digits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}
