package approval

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// facts is what the authorization details of a request say, for the page.
type facts struct {
	// Amount and what follows stand at the top of the page, when exactly one
	// of the details says how much.
	Amount   string
	Currency string
	Payee    *Text
	Account  *Text

	// Groups are all other members, one group for each of the details.
	Groups []factGroup
}

// factGroup is one member of authorization_details, without what stands above.
type factGroup struct {
	Rows []factRow
	More []factRow // technical members, behind a fold
}

// factRow is one member: with a label of ours where we know what it means, and
// otherwise with its own name, which is text from outside.
type factRow struct {
	Label string
	Name  Text
	Value Text
}

// leaf is a member of a JSON document that holds a value: its path, names
// joined by dots, and the value as it is written.
type leaf struct {
	path  string
	value string
	used  bool
}

// maxDepth bounds nesting of details that are taken apart. What is deeper is
// shown as it is written.
const maxDepth = 16

var errDepth = errors.New("details nested too deeply")

// Where known types of details keep what a payment is about, most telling
// first; names as foldName makes them. They cover the payment_initiation type
// of RFC 9396, the ISO 20022 names that banks use in JSON, and what people
// call things when left alone.
var (
	amountPaths = []string{
		"instructed_amount.amount", "instructed_amount.value", "instructed_amount",
		"amount.amount", "amount.value", "transaction_amount.amount", "amount",
	}
	payeePaths = []string{
		"creditor_name", "creditor.name", "payee_name", "payee.name", "beneficiary_name",
		"beneficiary.name", "recipient_name", "recipient.name",
		"payee", "beneficiary", "recipient", "creditor", "to",
	}
	accountPaths = []string{
		"creditor_account.iban", "creditor_account.identification", "creditor.iban", "creditor.account",
		"creditor_iban", "payee.iban", "payee_iban", "beneficiary.iban", "recipient.iban", "to_iban",
		"iban", "creditor_account", "to_account",
	}
)

// labels are the keys of our labels for members that we know.
var labels = map[string]string{
	"amount": "label.amount", "instructed_amount.amount": "label.amount", "instructed_amount": "label.amount",
	"amount.value": "label.amount", "amount.amount": "label.amount", "instructed_amount.value": "label.amount",
	"currency": "label.currency", "instructed_amount.currency": "label.currency", "amount.currency": "label.currency",
	"creditor_name": "label.payee", "creditor": "label.payee", "payee": "label.payee", "beneficiary": "label.payee",
	"recipient": "label.payee", "creditor.name": "label.payee", "payee.name": "label.payee", "to": "label.payee",
	"creditor_account.iban": "label.to_account", "creditor_iban": "label.to_account", "iban": "label.to_account",
	"creditor.iban": "label.to_account", "creditor_account": "label.to_account", "to_account": "label.to_account",
	"debtor_account.iban": "label.from_account", "debtor_account": "label.from_account", "from_account": "label.from_account",
	"debtor.iban": "label.from_account", "debtor_name": "label.from", "debtor": "label.from", "debtor.name": "label.from",
	"from": "label.from", "reference": "label.reference", "end_to_end_id": "label.reference",
	"remittance_information_unstructured": "label.reference", "remittance_information": "label.reference",
	"purpose": "label.purpose", "requested_execution_date": "label.date", "execution_date": "label.date",
	"date": "label.date", "host": "label.service", "method": "label.action", "target": "label.address",
	"type": "label.kind", "request_digest": "label.check",
}

// technical are the members that nobody decides by. They are shown behind a fold.
var technical = map[string]bool{"type": true, "request_digest": true}

// newFacts takes authorization details apart for showing. Every member is shown
// somewhere, in the order in which it came; what cannot be taken apart is shown
// as it is written.
func (l *locale) newFacts(raw json.RawMessage) facts {
	var f facts
	if len(bytes.TrimSpace(raw)) == 0 {
		return f
	}
	objects, err := splitDetails(raw)
	if err != nil {
		return facts{Groups: []factGroup{{Rows: []factRow{{Label: l.word("label.request"), Value: newText(string(raw))}}}}}
	}
	leading := -1
	for i, leaves := range objects {
		_, ok := l.leadingAmount(leaves)
		if ok && leading >= 0 {
			// Two amounts: neither is the one that stands out.
			leading = -1
			break
		}
		if ok {
			leading = i
		}
	}
	if leading >= 0 {
		l.lead(&f, objects[leading])
	}
	for _, leaves := range objects {
		f.Groups = append(f.Groups, l.rest(leaves))
	}
	return f
}

// leadingAmount finds the amount of one of the details.
func (l *locale) leadingAmount(leaves []leaf) (*leaf, bool) {
	for _, path := range amountPaths {
		found := find(leaves, path)
		if found == nil {
			continue
		}
		_, ok := l.amount(found.value)
		return found, ok
	}
	return nil, false
}

// lead moves amount, currency, payee and account to the top.
func (l *locale) lead(f *facts, leaves []leaf) {
	amount, _ := l.leadingAmount(leaves)
	f.Amount, _ = l.amount(amount.value)
	amount.used = true
	prefix := amount.path[:strings.LastIndexByte(amount.path, '.')+1]
	for _, path := range []string{prefix + "currency", "currency"} {
		code := find(leaves, path)
		if code != nil && currency(code.value) {
			f.Currency, code.used = code.value, true
			break
		}
	}
	payee := findFirst(leaves, payeePaths)
	account := findFirst(leaves, accountPaths)
	if payee != nil && account == nil {
		_, isIBAN := iban(payee.value)
		if isIBAN {
			payee, account = nil, payee
		}
	}
	if payee != nil {
		text := newText(payee.value)
		f.Payee, payee.used = &text, true
	}
	if account != nil {
		text := newText(account.value)
		grouped, ok := iban(account.value)
		if ok {
			text.Value = grouped
		}
		f.Account, account.used = &text, true
	}
}

// rest turns what is left of one of the details into rows.
func (l *locale) rest(leaves []leaf) factGroup {
	var g factGroup
	for _, leaf := range leaves {
		if leaf.used {
			continue
		}
		row := factRow{Value: newText(leaf.value)}
		key := labels[leaf.path]
		switch {
		case key != "":
			row.Label = l.word(key)
		default:
			row.Name = newText(strings.ReplaceAll(strings.ReplaceAll(leaf.path, ".", " › "), "_", " "))
		}
		if key == "label.amount" {
			formatted, ok := l.amount(leaf.value)
			if ok {
				row.Value.Value = formatted
			}
		}
		grouped, ok := iban(leaf.value)
		if ok {
			row.Value.Value = grouped
		}
		if technical[leaf.path] {
			g.More = append(g.More, row)
			continue
		}
		g.Rows = append(g.Rows, row)
	}
	return g
}

func find(leaves []leaf, path string) *leaf {
	for i := range leaves {
		if leaves[i].path == path && !leaves[i].used {
			return &leaves[i]
		}
	}
	return nil
}

func findFirst(leaves []leaf, paths []string) *leaf {
	for _, path := range paths {
		found := find(leaves, path)
		if found != nil {
			return found
		}
	}
	return nil
}

// splitDetails reads an array of objects and returns the leaves of each in the
// order of the document, numbers with the digits that they were written with.
func splitDetails(raw []byte) ([][]leaf, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if token != json.Delim('[') {
		return nil, errors.New("details are not an array")
	}
	var out [][]leaf
	for dec.More() {
		var leaves []leaf
		err = walk(dec, "", 0, &leaves)
		if err != nil {
			return nil, err
		}
		out = append(out, leaves)
	}
	_, err = dec.Token()
	if err != nil {
		return nil, err
	}
	_, err = dec.Token()
	if !errors.Is(err, io.EOF) {
		return nil, errors.New("data behind the details")
	}
	return out, nil
}

// walk reads one value and appends its leaves.
func walk(dec *json.Decoder, path string, depth int, leaves *[]leaf) error {
	if depth > maxDepth {
		return errDepth
	}
	token, err := dec.Token()
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		*leaves = append(*leaves, leaf{path: path, value: scalar(token)})
		return nil
	}
	if !dec.More() {
		*leaves = append(*leaves, leaf{path: path, value: "–"})
	}
	for i := 0; dec.More(); i++ {
		name := strconv.Itoa(i + 1)
		if delim == '{' {
			token, err = dec.Token()
			if err != nil {
				return err
			}
			name = foldName(token.(string))
		}
		err = walk(dec, strings.TrimPrefix(path+"."+name, "."), depth+1, leaves)
		if err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// scalar writes a JSON value that is neither object nor array.
func scalar(token json.Token) string {
	switch v := token.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return "–"
}

// foldName writes member names one way: creditorName is creditor_name. A dot in
// a name would look like a level and becomes a space.
func foldName(name string) string {
	var b strings.Builder
	lower := false
	for _, r := range name {
		if unicode.IsUpper(r) && lower {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(r) || unicode.IsDigit(r)
		if r == '.' {
			r = ' '
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
