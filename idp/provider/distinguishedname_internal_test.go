package provider

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"testing"
)

// subject returns a certificate with a subject of the given parts, in the order of
// the certificate.
func subject(t *testing.T, parts ...pkix.RelativeDistinguishedNameSET) *x509.Certificate {
	t.Helper()
	raw, err := asn1.Marshal(pkix.RDNSequence(parts))
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{RawSubject: raw}
}

func part(attributes ...any) pkix.RelativeDistinguishedNameSET {
	var set pkix.RelativeDistinguishedNameSET
	for i := 0; i < len(attributes); i += 2 {
		set = append(set, pkix.AttributeTypeAndValue{Type: attributes[i].(asn1.ObjectIdentifier), Value: attributes[i+1]})
	}
	return set
}

// RFC 4514, also its own examples; RFC 4517 section 4.2.15
func TestDistinguishedNames(t *testing.T) {
	cn, o, ou, c := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}, asn1.ObjectIdentifier{2, 5, 4, 11}, asn1.ObjectIdentifier{2, 5, 4, 6}
	dc := asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
	organization := asn1.ObjectIdentifier{2, 5, 4, 97}
	utf8String := func(s string) asn1.RawValue { return asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(s)} }
	number, err := asn1.Marshal(7)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		certificate *x509.Certificate
		equal       []string
		differs     []string
	}{
		{
			subject(t, part(c, "DE"), part(o, "Example Bank"), part(cn, "client")),
			[]string{
				"CN=client,O=Example Bank,C=DE", "cn=CLIENT,o=EXAMPLE BANK,C=de", "2.5.4.3=client,O=Example   Bank,C=DE", `CN=\63lient,O=Example\20Bank,C=DE`,
				"commonName=client,organizationName=Example Bank,countryName=DE",
			},
			[]string{"CN=client", "C=DE,O=Example Bank,CN=client", "CN=client,O=ExampleBank,C=DE", "CN=client+O=Example Bank,C=DE", "CN=client,OU=Example Bank,C=DE", "CN=cl\u0131ent,O=Example Bank,C=DE"},
		},
		{
			subject(t, part(dc, "net"), part(dc, "example"), part(ou, "Sales", cn, "J.  Smith")),
			[]string{"OU=Sales+CN=J.  Smith,DC=example,DC=net", "CN=J. Smith+OU=Sales,DC=example,DC=net"},
			[]string{"OU=Sales,CN=J. Smith,DC=example,DC=net", "OU=Sales,DC=example,DC=net", "CN=J. Smith+OU=Sales,DC=net,DC=example"},
		},
		{
			subject(t, part(cn, `James "Jim" Smith, III`)),
			[]string{`CN=James \"Jim\" Smith\, III`, `CN=James \22Jim\22 Smith\2C III`},
			[]string{`CN=James Smith\, III`},
		},
		{subject(t, part(cn, utf8String("Lu\u010di\u0107"))), []string{`CN=Lu\C4\8Di\C4\87`, "CN=Lu\u010di\u0107", "CN=lu\u010di\u0107"}, []string{"CN=Lucic", "CN=LU\u010cI\u0106"}},
		{subject(t, part(cn, utf8String("\u212aelvin"))), []string{"CN=\u212aelvin"}, []string{"CN=kelvin", "CN=Kelvin"}}, // K, the unit
		{subject(t, part(cn, " #a ")), []string{`CN=\ \#a\ `, `CN=\#a`}, nil},
		{subject(t, part(organization, "PSDDE-BAFIN-123")), []string{"organizationIdentifier=PSDDE-BAFIN-123", "2.5.4.97=PSDDE-BAFIN-123", "2.5.4.97=#" + hex.EncodeToString([]byte("\x13\x0fPSDDE-BAFIN-123"))}, []string{"2.5.4.97=#1301" + "41"}},
		{subject(t, part(asn1.ObjectIdentifier{1, 2, 3}, 7)), []string{"1.2.3=#" + hex.EncodeToString(number)}, []string{"1.2.3=7", "1.2.4=#" + hex.EncodeToString(number)}},
		{subject(t), nil, []string{"CN=a"}},
		{subject(t, part(cn, "a", cn, "A")), nil, []string{"CN=a"}},
		{&x509.Certificate{RawSubject: []byte("\x30\x05junk!")}, nil, []string{"CN=a"}},
	}
	for i, c := range cases {
		for _, text := range append(c.equal, c.differs...) {
			want, err := parseDN(text)
			if err != nil {
				t.Errorf("%d: %s: %v", i, text, err)
				continue
			}
			got, err := subjectOf(c.certificate)
			equal := err == nil && want.equal(got)
			expected := false
			for _, e := range c.equal {
				expected = expected || e == text
			}
			if equal != expected {
				t.Errorf("%d: %s: equal is %v", i, text, equal)
			}
		}
	}
	for _, bad := range []string{
		"", "CN", "=a", "CN=", "CN=a,", "CN=a+", ",CN=a", "CN =a", "CN= a", "CN=a ", "CN=a, O=b", "CN=a;O=b", `CN="a"`, "CN=<a", "CN=a\x00", `CN=a\`, `CN=a\4`, `CN=a\zz`, `CN=\ff`,
		"CN=#", "CN=#zz", "CN=#04024869ff", "CN=#0402", "XX=a", "1=a", "1.02=a", "1..2=a", "CN=a+CN=A",
	} {
		_, err := parseDN(bad)
		if err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// FuzzParseDN looks for names that are read and don't equal themselves.
func FuzzParseDN(f *testing.F) {
	for _, seed := range []string{"CN=client,O=Example Bank,C=DE", `CN=\ \#a\ `, "1.2.3=#020107", "OU=Sales+CN=J. Smith,DC=net"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := parseDN(text)
		if err == nil && (len(name) == 0 || !name.equal(name)) {
			t.Errorf("%q does not equal itself", text)
		}
	})
}
