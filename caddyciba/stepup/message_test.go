package stepup

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Threat T19: shown in full or not at all.
func TestBindingMessage(t *testing.T) {
	d := Digest{}
	short := d.Short()
	cases := []struct {
		name, text string
		limit      int
		want       string // empty: refused
	}{
		{"plain", "Pay 10.00 EUR to Danny", 128, "Pay 10.00 EUR to Danny " + short},
		{"empty", "", 128, short},
		{"empty, no room", "", 7, ""},
		{"at the limit with digest", strings.Repeat("x", 119), 128, strings.Repeat("x", 119) + " " + short},
		{"no room for the digest", strings.Repeat("x", 120), 128, strings.Repeat("x", 120)},
		{"at the limit", strings.Repeat("x", 128), 128, strings.Repeat("x", 128)},
		{"over the limit", strings.Repeat("x", 129), 128, ""},
		{"counted in characters", strings.Repeat("é", 128), 128, strings.Repeat("é", 128)},
		{"symbols", "5 < 6 + 1 = € $ £ | ~ ^ ` %", 128, "5 < 6 + 1 = € $ £ | ~ ^ ` % " + short},
		{"other scripts", "支払い 送金 платёж שלום", 128, "支払い 送金 платёж שלום " + short},
		{"emoji", "😀", 128, "😀 " + short},
		{"two marks", "a\u0301\u0302", 128, "a\u0301\u0302 " + short},
		{"markup stays text", "<b>{env.HOME} {{.}} {file./etc/passwd}", 128, "<b>{env.HOME} {{.}} {file./etc/passwd} " + short},

		{"three marks", "a\u0301\u0302\u0303", 128, ""},
		{"line feed", "Pay\n10", 128, ""},
		{"carriage return", "Pay\r10", 128, ""},
		{"tab", "Pay\t10", 128, ""},
		{"NUL", "Pay\x00", 128, ""},
		{"delete", "Pay\x7f", 128, ""},
		{"C1 control", "Pay\u0085", 128, ""},
		{"escape", "Pay\x1b[2J", 128, ""},
		{"right-to-left override", "Pay \u202e01", 128, ""},
		{"right-to-left mark", "Pay \u200f10", 128, ""},
		{"isolate", "Pay \u2066 10", 128, ""},
		{"Arabic letter mark", "Pay \u061c10", 128, ""},
		{"zero width space", "Pay \u200b10", 128, ""},
		{"zero width joiner", "Pay \u200d10", 128, ""},
		{"word joiner", "Pay \u206010", 128, ""},
		{"byte order mark", "\ufeffPay", 128, ""},
		{"soft hyphen", "P\u00aday", 128, ""},
		{"combining grapheme joiner", "P\u034fay", 128, ""},
		{"variation selector", "P\ufe0fay", 128, ""},
		{"tag character", "P\U000e0041ay", 128, ""},
		{"no-break space", "Pay\u00a010", 128, ""},
		{"ideographic space", "Pay\u300010", 128, ""},
		{"line separator", "Pay\u202810", 128, ""},
		{"paragraph separator", "Pay\u202910", 128, ""},
		{"Hangul filler", "Pay\u316410", 128, ""},
		{"blank braille", "Pay\u280010", 128, ""},
		{"private use", "Pay\ue00010", 128, ""},
		{"not assigned", "Pay\u0378", 128, ""},
		{"not UTF-8", "Pay\xff", 128, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := bindingMessage(c.text, d, c.limit, " ")
			if c.want == "" {
				if problemOf(err) != ProblemNotReadable {
					t.Errorf("message is %q, error %v", got, err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("message is %q, error %v, want %q", got, err, c.want)
			}
		})
	}
}

func FuzzBindingMessage(f *testing.F) {
	f.Add("Pay 10 EUR", 128)
	f.Add("\u202e", 20)
	f.Add("", 8)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		got, err := bindingMessage(text, Digest{}, limit, " ")
		if err != nil {
			return
		}
		if !strings.HasPrefix(got, text) || utf8.RuneCountInString(got) > limit || !utf8.ValidString(got) {
			t.Errorf("%q with limit %d became %q", text, limit, got)
		}
		for _, char := range got {
			if unicode.In(char, unicode.C, unicode.Zl, unicode.Zp) {
				t.Errorf("%q has %U", got, char)
			}
		}
	})
}

// A provider that takes no spaces gets none of ours.
func TestMessageJoiner(t *testing.T) {
	d := Digest{1, 2, 3}
	got, err := bindingMessage("Pay-100.00-EUR", d, 50, "-")
	if err != nil || got != "Pay-100.00-EUR-"+d.Short() {
		t.Errorf("message %q, %v", got, err)
	}
}
