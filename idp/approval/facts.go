package approval

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/caddyciba/gateway/idp/provider"
)

// facts is what the authorization details of a request say, for the page.
type facts struct {
	// Kind is what the operator calls this type of details, or empty.
	Kind string

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
	Kind string // as the operator calls it, or empty
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
// as it is written. declared are the same details as their declared types
// describe them; they give the operator's labels.
func (l *locale) newFacts(raw json.RawMessage, declared []provider.Detail) facts {
	var f facts
	if len(bytes.TrimSpace(raw)) == 0 {
		return f
	}
	objects, err := splitDetails(raw)
	if err != nil {
		return facts{Groups: []factGroup{{Rows: []factRow{{Label: l.word("label.request"), Value: newText(string(raw))}}}}}
	}
	leading := l.leading(objects)
	if leading >= 0 {
		l.lead(&f, objects[leading])
	}
	for i, leaves := range objects {
		var detail provider.Detail
		if i < len(declared) {
			detail = declared[i]
		}
		g := l.rest(leaves, detail)
		if detail.DisplayName != detail.Type {
			g.Kind = detail.DisplayName
		}
		f.Groups = append(f.Groups, g)
	}
	if len(f.Groups) == 1 {
		f.Kind, f.Groups[0].Kind = f.Groups[0].Kind, ""
	}
	return f
}

// leading returns the index of the only one of the details that says how much,
// or -1: of two amounts neither is the one that stands out.
func (l *locale) leading(objects [][]leaf) int {
	leading := -1
	for i, leaves := range objects {
		_, ok := l.leadingAmount(leaves)
		if ok && leading >= 0 {
			return -1
		}
		if ok {
			leading = i
		}
	}
	return leading
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
func (l *locale) rest(leaves []leaf, detail provider.Detail) factGroup {
	var g factGroup
	for _, leaf := range leaves {
		if leaf.used {
			continue
		}
		row := l.row(leaf, declaredRow(detail, leaf.member))
		if technical[leaf.path] {
			g.More = append(g.More, row)
			continue
		}
		g.Rows = append(g.Rows, row)
	}
	return g
}

// declaredRow returns what the operator has declared about a member.
func declaredRow(detail provider.Detail, member string) provider.DetailRow {
	for _, r := range detail.Rows {
		if r.Name == member {
			return r
		}
	}
	return provider.DetailRow{}
}

// row writes one member: with the operator's label, or with ours where we know
// the name, or with the name itself. A standard label of the provider counts as
// ours, and comes in the customer's language.
func (l *locale) row(leaf leaf, declared provider.DetailRow) factRow {
	row := factRow{Value: newText(leaf.value)}
	key := labels[leaf.path]
	ownWords := declared.Label != "" && declared.Label != declared.Name && !standardLabels[declared.Label]
	switch {
	case ownWords:
		row.Label = declared.Label
	case key != "":
		row.Label = l.word(key)
	default:
		row.Name = newText(strings.ReplaceAll(strings.ReplaceAll(leaf.path, ".", " › "), "_", " "))
	}
	amount, isAmount := l.amount(leaf.value)
	grouped, isIBAN := iban(leaf.value)
	switch {
	case isAmount && (key == "label.amount" || declared.Kind == provider.DetailAmount):
		row.Value.Value = amount
	case isIBAN:
		row.Value.Value = grouped
	case declared.Kind == provider.DetailBoolean && leaf.value == "true":
		row.Value.Value = l.word("word.yes")
	case declared.Kind == provider.DetailBoolean && leaf.value == "false":
		row.Value.Value = l.word("word.no")
	}
	return row
}

// standardLabels are the labels that the provider gives by itself.
var standardLabels = map[string]bool{"Action": true, "Service": true, "Address": true, "Digest": true}

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
