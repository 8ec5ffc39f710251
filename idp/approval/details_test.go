package approval

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

func english(t testing.TB) *locale {
	t.Helper()
	ls, err := loadLocales()
	if err != nil {
		t.Fatal(err)
	}
	return ls.all[0]
}

func TestFacts(t *testing.T) {
	l := english(t)
	for name, test := range map[string]struct {
		in               string
		amount, currency string
		payee, account   string
		rows             string // "label=value" joined by |; unknown names in <>
		more             string
	}{
		"none":  {in: ""},
		"empty": {in: "[]"},
		"gateway": {in: payment, amount: "1,250.00", currency: "EUR", payee: "Danny Ocean", account: "DE89 3704 0044 0532 0130\u00a000",
			rows: "Reference=Invoice 4711", more: "Kind=wire_transfer|Check code=n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"},
		"RFC 9396": {in: `[{"type":"payment_initiation","actions":["initiate"],"instructedAmount":{"currency":"EUR","amount":"123.50"},"creditorName":"Merchant A","creditorAccount":{"iban":"DE02100100109307118603"},"remittanceInformationUnstructured":"Ref Number Merchant"}]`,
			amount: "123.50", currency: "EUR", payee: "Merchant A", account: "DE02 1001 0010 9307 1186\u00a003",
			rows: "<actions › 1>=initiate|Reference=Ref Number Merchant", more: "Kind=payment_initiation"},
		"account in place of a name": {in: `[{"amount":5,"currency":"CHF","creditor":"DE89370400440532013000"}]`, amount: "5", currency: "CHF", account: "DE89 3704 0044 0532 0130\u00a000"},
		"number keeps its digits":    {in: `[{"amount":9007199254740993.10}]`, amount: "9,007,199,254,740,993.10"},
		"amount that is none":        {in: `[{"amount":"1e3","currency":"EUR","to":"X"}]`, rows: "Amount=1e3|Currency=EUR|To=X"},
		"currency that is none":      {in: `[{"amount":"5","currency":"Euro!"}]`, amount: "5", rows: "Currency=Euro!"},
		"two payments":               {in: `[{"amount":"5","currency":"EUR","to":"A"},{"amount":"5000","currency":"EUR","to":"B"}]`, rows: "Amount=5|Currency=EUR|To=A|Amount=5,000|Currency=EUR|To=B"},
		"amount given twice":         {in: `[{"amount":"5","amount":"5000"}]`, amount: "5", rows: "Amount=5,000"},
		"two payees":                 {in: `[{"amount":"5","to":"Alice","creditorName":"Eve"}]`, amount: "5", payee: "Eve", rows: "To=Alice"},
		"unknown members":            {in: `[{"type":"x","do_this":true,"nested":{"a.b":[1,null,{}]}}]`, rows: "<do this>=true|<nested › a b › 1>=1|<nested › a b › 2>=–|<nested › a b › 3>=–", more: "Kind=x"},
		"not an array":               {in: `{"amount":"5"}`, rows: `Request={"amount":"5"}`},
		"not JSON":                   {in: `[{"amount":`, rows: `Request=[{"amount":`},
		"data behind":                {in: `[] {"amount":"5"}`, rows: `Request=[] {"amount":"5"}`},
		"too deep":                   {in: strings.Repeat("[", 40) + strings.Repeat("]", 40), rows: "Request=" + strings.Repeat("[", 40) + strings.Repeat("]", 40)},
	} {
		t.Run(name, func(t *testing.T) {
			f := l.newFacts(json.RawMessage(test.in), nil)
			payee, account := "", ""
			if f.Payee != nil {
				payee = f.Payee.Value
			}
			if f.Account != nil {
				account = f.Account.Value
			}
			if f.Amount != test.amount || f.Currency != test.currency || payee != test.payee || account != test.account {
				t.Errorf("top: %q %q to %q %q", f.Amount, f.Currency, payee, account)
			}
			rows, more := []string{}, []string{}
			for _, g := range f.Groups {
				rows = append(rows, written(g.Rows)...)
				more = append(more, written(g.More)...)
			}
			if got := strings.Join(rows, "|"); got != test.rows {
				t.Errorf("rows: %s\nwant: %s", got, test.rows)
			}
			if got := strings.Join(more, "|"); got != test.more {
				t.Errorf("behind the fold: %s\nwant: %s", got, test.more)
			}
		})
	}
}

func written(rows []factRow) []string {
	var out []string
	for _, r := range rows {
		label := r.Label
		if label == "" {
			label = "<" + r.Name.Value + ">"
		}
		out = append(out, label+"="+r.Value.Value)
	}
	return out
}

// Every value of the details is shown somewhere: nothing is executed that the
// customer could not see.
func FuzzFacts(f *testing.F) {
	l := english(f)
	f.Add(payment)
	f.Add(`[{"amount":"1","amount":{"amount":"2","currency":"EUR"}},{"a":[[],{},"x"]}]`)
	f.Fuzz(func(t *testing.T, in string) {
		if !json.Valid([]byte(in)) {
			return
		}
		facts := l.newFacts(json.RawMessage(in), nil)
		shown := facts.Amount + "|" + facts.Currency
		for _, text := range []*Text{facts.Payee, facts.Account} {
			if text != nil {
				shown += "|" + text.Value
			}
		}
		for _, g := range facts.Groups {
			shown += "|" + strings.Join(append(written(g.Rows), written(g.More)...), "|")
		}
		objects, err := splitDetails([]byte(in))
		if err != nil {
			if !strings.Contains(shown, newText(in).Value) && strings.TrimSpace(in) != "" {
				t.Errorf("%s is not shown as it is written: %s", in, shown)
			}
			return
		}
		for _, leaves := range objects {
			for _, leaf := range leaves {
				value := newText(leaf.value).Value
				grouped, isIBAN := iban(leaf.value)
				amount, isAmount := l.amount(leaf.value)
				if !strings.Contains(shown, value) && !(isIBAN && strings.Contains(shown, grouped)) && !(isAmount && strings.Contains(shown, amount)) {
					t.Errorf("%q of %s is not shown: %s", leaf.value, in, shown)
				}
			}
		}
	})
}

// What the operator has declared names and forms the members; the rest keeps
// our labels and its own names.
func TestDeclaredFacts(t *testing.T) {
	l := english(t)
	raw := json.RawMessage(`[{"type":"card","limit":"2500","instant":true,"reference":"X","method":"POST","other_one":"y","request_digest":"abc"}]`)
	f := l.newFacts(raw, []provider.Detail{{Type: "card", DisplayName: "Card limit", Rows: []provider.DetailRow{
		{Name: "limit", Label: "New limit", Kind: provider.DetailAmount, Value: "2500"},
		{Name: "instant", Label: "At once", Kind: provider.DetailBoolean, Value: "true"},
		{Name: "reference", Label: "reference", Kind: provider.DetailText, Value: "X"},
		{Name: "method", Label: "Action", Kind: provider.DetailText, Value: "POST"},
	}}})
	want := "New limit=2,500|At once=Yes|Reference=X|Action=POST|<other one>=y"
	if got := strings.Join(written(f.Groups[0].Rows), "|"); got != want || f.Kind != "Card limit" {
		t.Errorf("%s: %s\nwant: %s", f.Kind, got, want)
	}
	if got := strings.Join(written(f.Groups[0].More), "|"); got != "Kind=card|Check code=abc" {
		t.Errorf("behind the fold: %s", got)
	}
	german := *l
	german.words = map[string]string{"label.action": "Vorgang", "label.reference": "Verwendungszweck"}
	f = german.newFacts(raw, []provider.Detail{{Type: "card", DisplayName: "card", Rows: []provider.DetailRow{{Name: "method", Label: "Action"}}}})
	if got := strings.Join(written(f.Groups[0].Rows), "|"); !strings.Contains(got, "Vorgang=POST") || f.Kind != "" {
		t.Errorf("%q: %s", f.Kind, got)
	}
}
