package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// fields stands in for a document: by the path's text, as the tests write it.
func request(fields map[string][]string) Request {
	return Request{
		Method: "POST", Host: "api.example.com", Path: "/transfers", Caller: "teller",
		Field: func(p stepup.Path) ([]string, error) {
			for text, values := range fields {
				parsed, err := stepup.ParsePath(text)
				if err == nil && parsed.String() == p.String() {
					return values, nil
				}
			}
			return nil, errMissing
		},
		Placeholder: func(key string) (string, bool, error) {
			switch key {
			case "http.request.header.X-Channel":
				return "web", true, nil
			case "http.request.header.X-Twice":
				return "", true, errMissing
			}
			return "", false, nil
		},
	}
}

var errMissing = errors.New("missing")

// Design 3.1, step 5: money is compared as decimals, and what cannot be decided
// needs an approval.
func TestHolds(t *testing.T) {
	body := map[string][]string{
		"amount": {"1000.00"}, "more": {"1000.01"}, "small": {"999.999999999999999999999999"}, "big": {"123456789012345678901234567890"},
		"exponent": {"1e3"}, "negative": {"-1"}, "currency": {"EUR"}, "items.*.amount": {"600", "500.50"}, "items.#": {"2"}, "none.*": {},
		"german": {"1.000,00"}, "thousands": {"1,000.00"}, "swiss": {"1'000.00"}, "hex": {"0x10"}, "plus": {"+5"}, "zeros": {"0100"}, "blank": {" 5"},
		"empty": {""}, "words": {"a lot"}, "nan": {"NaN"}, "infinite": {"Infinity"}, "arabic": {"\u0661"}, "true": {"true"}, "point": {"5."},
		"huge": {"1e999"}, "mixed.*": {"1", "x"},
	}
	tests := []struct {
		condition string
		want      bool
		fails     bool
	}{
		{`{ciba.body.amount} > 1000`, false, false},
		{`{ciba.body.amount} >= 1000`, true, false},
		{`{ciba.body.more} > 1000`, true, false},
		{`{ciba.body.more} > 1000.01`, false, false},
		{`{ciba.body.more} > 1000.009`, true, false},
		{`{ciba.body.small} < 1000`, true, false},
		{`{ciba.body.small} >= 1000`, false, false},
		{`{ciba.body.big} > 123456789012345678`, true, false},
		{`{ciba.body.exponent} <= 1000`, true, false},
		{`{ciba.body.negative} < 0`, true, false},
		{`1000 < {ciba.body.more}`, true, false},
		// Not as letters: "1000.00" comes before "9" in the dictionary.
		{`{ciba.body.amount} > "9"`, true, false},
		{`{ciba.body.amount} < {ciba.body.more}`, true, false},
		{`decimal({ciba.body.amount}) == decimal(1000)`, true, false},
		{`decimal({ciba.body.amount}) + decimal({ciba.body.more}) == decimal("2000.01")`, true, false},
		{`decimal(0.1) + decimal(0.2) == decimal(0.3)`, true, false},
		{`0.1 + 0.2 == decimal(0.3)`, true, false},
		{`sum({ciba.body.items.*.amount}) > 1100`, true, false},
		{`sum({ciba.body.items.*.amount}) > 1100.5`, false, false},
		{`sum({ciba.body.none.*}) > 0`, false, false},
		{`{ciba.body.items.*.amount}.exists(a, a > 599)`, true, false},
		{`{ciba.body.items.*.amount}.all(a, a > 599)`, false, false},
		{`{ciba.body.items.#} > 1`, true, false},
		{`{ciba.body.currency} == "EUR"`, true, false},
		{`{ciba.body.currency} in ["EUR", "CHF"]`, true, false},
		{`!({ciba.body.currency} in ["USD"])`, true, false},
		{`{ciba.body.currency}.matches("^[A-Z]{3}$")`, true, false},
		{`method == "POST" && path.startsWith("/transfers") && host == "api.example.com" && caller == "teller"`, true, false},
		{`{http.request.header.X-Channel} == "web"`, true, false},
		{"// all of them\ntrue", true, false},
		{`false`, false, false},

		// What cannot be decided needs an approval.
		{`{ciba.body.missing} > 1000`, true, true},
		{`{ciba.body.missing} == "x"`, true, true},
		{`{http.request.header.X-Twice} == "x"`, true, true},
		{`{http.unknown.thing} == "x"`, true, true},
		{`{ciba.body.german} > 100000`, true, true},
		{`{ciba.body.thousands} > 100000`, true, true},
		{`{ciba.body.swiss} > 100000`, true, true},
		{`{ciba.body.hex} > 100000`, true, true},
		{`{ciba.body.plus} > 100000`, true, true},
		{`{ciba.body.zeros} > 100000`, true, true},
		{`{ciba.body.blank} > 100000`, true, true},
		{`{ciba.body.empty} > 100000`, true, true},
		{`{ciba.body.words} > 100000`, true, true},
		{`{ciba.body.nan} > 100000`, true, true},
		{`{ciba.body.infinite} < 0`, true, true},
		{`{ciba.body.arabic} > 100000`, true, true},
		{`{ciba.body.true} > 100000`, true, true},
		{`{ciba.body.point} > 100000`, true, true},
		{`{ciba.body.huge} < 0`, true, true},
		{`sum({ciba.body.mixed.*}) > 100`, true, true},
		// Also where the rest has an answer of its own.
		{`{ciba.body.missing} > 1000 && {ciba.body.currency} == "USD"`, true, true},
		// Unless it was not asked for.
		{`{ciba.body.currency} == "USD" && {ciba.body.missing} > 1000`, false, false},
		// More work than any condition needs.
		{`{ciba.body.items.*.amount}.all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, f > 0))))))`, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.condition, func(t *testing.T) {
			c, err := Compile(tt.condition)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Holds(request(body))
			if got != tt.want || (err != nil) != tt.fails {
				t.Errorf("holds: %t, %v; want %t, fails: %t", got, err, tt.want, tt.fails)
			}
		})
	}
}

// Mistakes are found before there is a request (threats C10).
func TestMistakes(t *testing.T) {
	for condition, want := range map[string]string{
		``:                                        "yntax error",
		`{ciba.body.amount}`:                      "condition is a string",
		`{ciba.body.amount} >`:                    "yntax error",
		`{ciba.body.amount} == 1000`:              "decimal(",
		`{ciba.body.amount} + 1 > 2`:              "decimal(",
		`{ciba.body.a} + {ciba.body.b} > 2`:       "decimal(",
		`{ciba.body.flag} > true`:                 "no matching overload",
		`{ciba.body.flag} && true`:                "expected type 'bool'",
		`{ciba.body.items.*.amount} > 1`:          "no matching overload",
		`{ciba.body.a..b} > 1`:                    "empty step",
		`{ciba.amount} > 1`:                       "{ciba.body.PATH}",
		`"{ciba.body.currency}" == "EUR"`:         "quotes",
		`'{http.request.host}' == "EUR"`:          "quotes",
		`{ciba.body.amount > 1`:                   "brace",
		`{"a": 1}["a"] == 1`:                      "brace",
		`"abc`:                                    "quotes",
		`unknown > 1`:                             "undeclared reference",
		`double({ciba.body.amount}) > 1.0`:        "undeclared reference",
		`dyn({ciba.body.amount}) == 1`:            "undeclared reference",
		`"x" + "y" == "xy"`:                       "no matching overload",
		strings.Repeat("true || ", 2000) + `true`: "longer",
	} {
		_, err := Compile(condition)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: error is %v, want %q", condition, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "ref_") {
			t.Errorf("%.60s: the error has our own names: %v", condition, err)
		}
	}
}

func TestAboutConditions(t *testing.T) {
	c, err := Compile(`{ciba.body.p:a.p:b} > 1 || {http.request.header.X} == r"{x}"`)
	if err != nil {
		t.Fatal(err)
	}
	if !c.ReadsBody() || strings.Join(c.Prefixes(), " ") != "p p" || c.String() != `{ciba.body.p:a.p:b} > 1 || {http.request.header.X} == r"{x}"` {
		t.Errorf("%t %v %s", c.ReadsBody(), c.Prefixes(), c)
	}
	c, err = Compile(`method == "POST"`)
	if err != nil || c.ReadsBody() {
		t.Errorf("%v, reads the body", err)
	}
}

// Threats T22: no condition and no body makes it panic, and errors keep what is in
// the body for themselves.
func FuzzHolds(f *testing.F) {
	f.Add(`{ciba.body.a} > 1000`, "1.000,00")
	f.Add(`sum({ciba.body.*}) > 1`, "1")
	f.Add(`"{" == '\''`, "")
	f.Fuzz(func(t *testing.T, condition, value string) {
		c, err := Compile(condition)
		if err != nil {
			return
		}
		_, _ = c.Holds(Request{
			Field:       func(stepup.Path) ([]string, error) { return []string{value}, nil },
			Placeholder: func(string) (string, bool, error) { return value, true, nil },
		})
	})
}

func BenchmarkHolds(b *testing.B) {
	c, err := Compile(`{ciba.body.amount} > 1000 || {ciba.body.currency} != "EUR"`)
	if err != nil {
		b.Fatal(err)
	}
	r := request(map[string][]string{"amount": {"100.00"}, "currency": {"EUR"}})
	for b.Loop() {
		_, _ = c.Holds(r)
	}
}
