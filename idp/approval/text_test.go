package approval

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// T19: text that would deceive is shown with marks.
func TestText(t *testing.T) {
	for name, test := range map[string]struct {
		in, want      string
		hidden, mixed bool
	}{
		"plain":              {"Wire to D. Ocean, invoice 4711", "Wire to D. Ocean, invoice 4711", false, false},
		"accents":            {"Grüße an Zoë Łukasz", "Grüße an Zoë Łukasz", false, false},
		"decomposed":         {"Zoe\u0308", "Zoe\u0308", false, false},
		"greek alone":        {"Ευρώ", "Ευρώ", false, false},
		"cyrillic alone":     {"Перевод", "Перевод", false, false},
		"japanese":           {"振込 ふりこみ フリコミ", "振込 ふりこみ フリコミ", false, false},
		"arabic":             {"تحويل 100", "تحويل 100", false, false},
		"spaces around":      {"  x ", "x", false, false},
		"homoglyph":          {"pаypal", "pаypal", false, true},
		"greek and latin":    {"Ρaul", "Ρaul", false, true},
		"mathematical":       {"𝐁ank", "𝐁ank", false, true},
		"full width":         {"Ｂank", "Ｂank", false, true},
		"override":           {"a\u202eb", "a\ufffdb", true, false},
		"isolate":            {"a\u2066b\u2069", "a\ufffdb\ufffd", true, false},
		"left-to-right mark": {"a\u200eb", "a\ufffdb", true, false},
		"zero width":         {"a\u200bb", "a\ufffdb", true, false},
		"soft hyphen":        {"a\u00adb", "a\ufffdb", true, false},
		"byte order mark":    {"\ufeffa", "\ufffda", true, false},
		"line feed":          {"a\nb", "a\ufffdb", true, false},
		"tab":                {"a\tb", "a\ufffdb", true, false},
		"NUL":                {"a\x00b", "a\ufffdb", true, false},
		"line separator":     {"a\u2028b", "a\ufffdb", true, false},
		"em space":           {"a\u2003b", "a\ufffdb", true, false},
		"private use":        {"a\ue000b", "a\ufffdb", true, false},
		"unassigned":         {"a\U000e0fffb", "a\ufffdb", true, false},
		"tag character":      {"a\U000e0041b", "a\ufffdb", true, false},
		"variation selector": {"a\ufe0fb", "a\ufffdb", true, false},
		"hangul filler":      {"a\u3164b", "a\ufffdb", true, false},
		"blank braille":      {"a\u2800b", "a\ufffdb", true, false},
		"heap of marks":      {"a\u0301\u0302\u0303\u0304", "a\u0301\u0302\ufffd\ufffd", true, false},
		"invalid UTF-8":      {"a\xffb", "a\ufffdb", true, false},
		"replacement itself": {"a\ufffdb", "a\ufffdb", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := newText(test.in)
			if got.Value != test.want || got.Hidden != test.hidden || got.Mixed != test.mixed {
				t.Errorf("newText(%+q) = %+q hidden %v mixed %v", test.in, got.Value, got.Hidden, got.Mixed)
			}
		})
	}
}

func FuzzText(f *testing.F) {
	f.Add("Wire 5 EUR")
	f.Add("a\u202eb\xff\u0301\u0301\u0301")
	f.Fuzz(func(t *testing.T, in string) {
		got := newText(in)
		if !utf8.ValidString(got.Value) {
			t.Errorf("%+q gives invalid UTF-8", in)
		}
		again := newText(got.Value)
		if again.Value != got.Value {
			t.Errorf("%+q is not stable: %+q, %+q", in, got.Value, again.Value)
		}
		if !got.Hidden && got.Value != strings.TrimSpace(in) {
			t.Errorf("%+q became %+q without a mark", in, got.Value)
		}
	})
}

func TestAmount(t *testing.T) {
	ls, err := loadLocales()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"0":                {"0", "0"},
		"0.10":             {"0.10", "0,10"},
		"5":                {"5", "5"},
		"1250.00":          {"1,250.00", "1.250,00", "1\u202f250,00", "1250,00"},
		"999":              {"999", "999"},
		"1234567.891":      {"1,234,567.891", "1.234.567,891", "1\u202f234\u202f567,891", "1.234.567,891"},
		"9007199254740993": {"9,007,199,254,740,993", "9.007.199.254.740.993"},
		"-12.5":            {"\u221212.5", "\u221212,5"},
	}
	for in, out := range want {
		for i, l := range ls.all[:len(out)] {
			got, ok := l.amount(in)
			if !ok || got != out[i] {
				t.Errorf("%s in %s: %q, %v", in, l.name, got, ok)
			}
		}
	}
	for _, in := range []string{"", ".", "1.", ".5", "1e3", "1,000", "01", "00", "+5", "--5", "- 5", "5 ", "٣", "1.2.3", "NaN", "0x10", strings.Repeat("9", 25), "1." + strings.Repeat("0", 13)} {
		got, ok := ls.all[0].amount(in)
		if ok {
			t.Errorf("%q is taken for the amount %q", in, got)
		}
	}
}

func TestIBAN(t *testing.T) {
	for in, want := range map[string]string{
		"DE89370400440532013000":          "DE89 3704 0044 0532 0130\u00a000",
		"DE89 3704 0044 0532 0130 00":     "DE89 3704 0044 0532 0130\u00a000",
		"GB82WEST12345698765432":          "GB82 WEST 1234 5698 7654\u00a032",
		"MT84MALT011000012345MTLCAST001S": "MT84 MALT 0110 0001 2345 MTLC AST0\u00a001S",
		"NO9386011117947":                 "NO93 8601 1117\u00a0947",
		"DE88370400440532013000":          "", // check digits wrong
		"DE89370400440532013001":          "",
		"de89370400440532013000":          "",
		"1289370400440532013000":          "",
		"DE8937040044053201300Ö":          "",
		"":                                "",
		"DE89":                            "",
		"DE89" + strings.Repeat("0", 40):  "",
	} {
		got, ok := iban(in)
		if ok != (want != "") || got != want {
			t.Errorf("iban(%q) = %q, %v", in, got, ok)
		}
	}
}
