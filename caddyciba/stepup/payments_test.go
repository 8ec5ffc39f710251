package stepup

import (
	"os"
	"path/filepath"
	"testing"
)

// payments are the bodies of real payment formats, of the kind "json", "form",
// "multipart" or "xml".
func payments(t *testing.T, kind string) []string {
	t.Helper()
	endings := map[string]string{"json": "*.json", "form": "*.txt", "multipart": "*.multipart", "xml": "*.xml"}
	names, err := filepath.Glob(filepath.Join("testdata", "payments", endings[kind]))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// The formats of Berlin Group NextGenPSD2, Open Banking UK, ISO 20022, SOAP and
// forms: what a customer is to see of them.
func TestPaymentFormats(t *testing.T) {
	const tx = "Document.CstmrCdtTrfInitn.PmtInf.CdtTrfTxInf."
	const soap = "soap:Envelope.soap:Body.pay:TransferRequest."
	cases := []struct {
		file, mediaType string
		fields          map[string]string
	}{
		{"berlin-group-sepa.json", "application/json", map[string]string{
			"instructedAmount.amount": "1250.00", "instructedAmount.currency": "EUR", "creditorName": "Malermeister Krüger GmbH",
			"creditorAccount.iban": "DE02500105170137075030", "debtorAccount.iban": "DE02120300000000202051",
		}},
		{"open-banking-uk-domestic.json", "application/json; charset=utf-8", map[string]string{
			"Data.Initiation.InstructedAmount.Amount": "165.88", "Data.Initiation.InstructedAmount.Currency": "GBP",
			"Data.Initiation.CreditorAccount.Name": "Harbour Boats Ltd",
		}},
		{"pain.001.001.09.xml", "application/xml", map[string]string{
			tx + "#": "2", tx + "0.Amt.InstdAmt": "2000.00", tx + "0.Amt.InstdAmt.@Ccy": "EUR", tx + "0.Cdtr.Nm": "Holz & Leim OG",
			tx + "1.Amt.InstdAmt": "750.50", tx + "1.CdtrAcct.Id.Othr.Id": "0815-4711",
			"pain:Document.pain:CstmrCdtTrfInitn.pain:GrpHdr.pain:CtrlSum": "2750.50",
		}},
		{"soap-transfer.xml", "text/xml; charset=utf-8", map[string]string{
			soap + "pay:Amount": "480.00", soap + "pay:Amount.@currency": "EUR", soap + "pay:Beneficiary.pay:Name": "Gärtnerei <Grün>",
			"Envelope.Body.TransferRequest.Customer": "alice",
		}},
		{"soap-transfer.xml", `application/soap+xml; charset="utf-8"; action="urn:transfer"`, map[string]string{soap + "pay:Amount": "480.00"}},
		{"form-payout.txt", formType, map[string]string{
			"amount": "1100", "currency": "usd", "destination": "ba_7QmCXk2dTz", "description": "Weekly payout № 12", "metadata[order]": "A-9",
		}},
		{"invoice.multipart", "multipart/form-data; boundary=x", map[string]string{
			"amount": "99.90", "payee": "Jörg Weiß", "invoice.@filename": "rechnung.pdf", "invoice.@size": "19",
		}},
	}
	namespaces := map[string]string{
		"pain": "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09", "pay": "urn:example:bank:payments:v2",
		"soap": "http://schemas.xmlsoap.org/soap/envelope/",
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join("testdata", "payments", c.file))
			if err != nil {
				t.Fatal(err)
			}
			d := &Document{contentType: c.mediaType, body: body, namespaces: namespaces}
			for path, want := range c.fields {
				got, err := d.Lookup(path)
				if err != nil || got != want {
					t.Errorf("%s is %q, %v, want %q", path, got, err, want)
				}
			}
		})
	}
	// Which of the two is not for us to choose.
	body, err := os.ReadFile("testdata/payments/pain.001.001.09.xml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&Document{contentType: "application/xml", body: body}).Lookup("Document.CstmrCdtTrfInitn.PmtInf.CdtTrfTxInf.Amt.InstdAmt")
	if problemOf(err) != ProblemNotReadable {
		t.Errorf("one of several transfers is shown: %v", err)
	}
}

// samples is the environment variable with the folder of payments as their
// publishers have them, which are not ours to copy.
const samples = "CIBA_PAYMENT_SAMPLES"

// TestPublishedPayments reads real bodies, where they are at hand.
func TestPublishedPayments(t *testing.T) {
	folder := os.Getenv(samples)
	if folder == "" {
		t.Skip(samples + " names no folder with published payments")
	}
	const tx = "Document.CstmrCdtTrfInitn.PmtInf.CdtTrfTxInf."
	cases := []struct{ file, mediaType, path, want string }{
		{"bg-swiss-isr-domestic.json", "application/json", "instructedAmount.amount", "1000.00"},
		{"bg-swiss-cross-border-trailing-comma.json", "application/json", "instructedAmount.amount", ""},
		{"obuk-domestic-consent-merchant.json", "application/json", "Data.Initiation.InstructedAmount.Amount", "165.88"},
		{"obuk-international-nested-amount.json", "application/json", "Data.Initiation.InstructedAmount.Amount", ""},
		{"obuk-international-nested-amount.json", "application/json", "Data.Initiation.InstructedAmount.Amount.Amount", "165.88"},
		{"obuk-vrp-1-req.json", "application/json", "Data.Instruction.InstructedAmount.Amount", "10.00"},
		{"pain.001.001.03-three-currencies.xml", "application/xml", tx + "1.Amt.InstdAmt.@Ccy", "EUR"},
		{"pain.001.001.03-three-currencies.xml", "application/xml", tx + "2.Amt.InstdAmt", "1000000"},
		{"pain.001.001.03-rub-bom.xml", "text/xml", tx + "0.Cdtr.Nm", "COMPANY Z"},
		{"pain.001.001.03.ch.02-eight-tx-eqvtamt.xml", "application/xml", "Document.CstmrCdtTrfInitn.PmtInf.3.CdtTrfTxInf.0.Amt.EqvtAmt.CcyOfTrf", "EUR"},
		{"pain.001.001.03.ch.02-eight-tx-eqvtamt.xml", "application/xml", "Document.CstmrCdtTrfInitn.PmtInf.3.CdtTrfTxInf.0.Amt.InstdAmt", ""},
		{"pacs.008.001.07-with-apphdr.xml", "application/xml", "message.Document.FIToFICstmrCdtTrf.CdtTrfTxInf.IntrBkSttlmAmt", "5000"},
		{"pacs.002-payment-inside-cdata.xml", "application/xml", "Document.FIToFIPmtStsRpt.CdtTrfTxInf.IntrBkSttlmAmt", ""},
		{"soap-check-sale.xml", "text/xml", `Envelope.Body.PosRequest.Ver1\.0.Transaction.CheckSale.Block1.Amt`, "20.00"},
		{"soap-several-amounts.xml", "text/xml", "Envelope.Body.requestMessage.purchaseTotals.grandTotalAmount", "1.00"},
		{"soap-escaped-inner-xml.xml", formType, "Envelope", ""},
		{"form-stripe-payout.txt", formType, "amount", "1100"},
		{"form-stripe-transfer.txt", formType, "destination", "acct_xxxxxxxxxxxxx"},
		{"form-stripe-inbound-transfer.txt", formType, "amount", "10000"},
		{"fineract-account-transfer.json", "application/json", "transferAmount", "112.45"},
		{"paypal-payouts-batch.json", "application/json", "items.1.amount.value", "112.34"},
		{"paypal-payouts-batch.json", "application/json", "items.#", "3"},
		{"ach-ppd-mixed-debit-credit.json", "application/json", "batches.0.entryDetails.1.amount", "100000"},
		{"nasty-duplicate-key.json", "application/json", "a", ""},
		{"nasty-nul-in-key.json", "application/json", "foo", ""},
		{"nasty-key-nfc-nfd.json", "application/json", "\u00e9", ""},
		{"nasty-number-beyond-double.json", "application/json", "0", "1.000000000000000005"},
	}
	for _, c := range cases {
		t.Run(c.file+" "+c.path, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join(folder, c.file))
			if err != nil {
				t.Fatal(err)
			}
			got, err := (&Document{contentType: c.mediaType, body: body}).Lookup(c.path)
			if got != c.want || (err != nil) != (c.want == "") {
				t.Errorf("is %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
