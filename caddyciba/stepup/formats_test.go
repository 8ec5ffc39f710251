package stepup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// formatTypes are the media types of the folders in testdata.
var formatTypes = map[string]string{
	"form":      "application/x-www-form-urlencoded",
	"multipart": "multipart/form-data; boundary=x",
	"xml":       "application/xml",
}

// Threats T3, T22, G11: a body of which there are two readings is refused as a
// whole.
func TestFormatsRefused(t *testing.T) {
	for format, mediaType := range formatTypes {
		for _, body := range lines(t, filepath.Join("testdata", format, "refused.txt")) {
			t.Run(format+" "+body, func(t *testing.T) {
				err := documentOf(mediaType, "", body).Check()
				if problemOf(err) != ProblemNotReadable {
					t.Errorf("problem is %q (%v)", problemOf(err), err)
				}
			})
		}
	}
}

// What is accepted is read as its sender meant it, by the paths of the one
// syntax.
func TestFormatsAccepted(t *testing.T) {
	for format, mediaType := range formatTypes {
		for _, line := range lines(t, filepath.Join("testdata", format, "accepted.txt")) {
			t.Run(format+" "+line, func(t *testing.T) {
				body, path, want := cut3(t, line)
				got, err := documentOf(mediaType, "", body).Lookup(path)
				if err != nil || got != want {
					t.Errorf("%s is %q, error %v, want %q", path, got, err, want)
				}
			})
		}
	}
}

// cut3 takes a line apart at its last two tabs.
func cut3(t *testing.T, line string) (body, path, want string) {
	t.Helper()
	parts := strings.Split(line, "\t")
	if len(parts) < 3 {
		t.Fatalf("%q has not three parts", line)
	}
	// A value may have a tab of its own, a path cannot.
	for i := len(parts) - 1; i > 0; i-- {
		body, path, want = strings.Join(parts[:i], "\t"), parts[i], strings.Join(parts[i+1:], "\t")
		if i < len(parts)-1 && path != "" && !strings.ContainsAny(path, " <>&=\r\n") {
			break
		}
	}
	return body, path, want
}

// Threat G10: what cannot be shown for sure fails closed.
func TestXMLUnreadable(t *testing.T) {
	for _, line := range lines(t, "testdata/xml/unreadable.txt") {
		t.Run(line, func(t *testing.T) {
			body, path, _ := strings.Cut(line, ">\t")
			d := documentOf("application/xml", "", body+">")
			if d.Check() != nil {
				t.Fatalf("the document is refused: %v", d.Check())
			}
			got, err := d.Lookup(path)
			if problemOf(err) != ProblemNotReadable {
				t.Errorf("%s is %q, error %v", path, got, err)
			}
		})
	}
}

func TestFormUnreadable(t *testing.T) {
	file := "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"b\"\r\n\r\nabc\r\n--x--"
	for _, c := range [][3]string{
		{"form", "a=1", "b"}, {"form", "a=1", "A"}, {"form", "a=1", "a.#"}, {"form", "a=1", "a.@size"}, {"form", "a=1", "*"},
		{"form", "", "a"}, {"form", "a[b]=1", "a.b"}, {"form", "a=1", "@a"},
		{"multipart", file, "f"}, {"multipart", file, "f.@name"}, {"multipart", file, "f.@size.x"}, {"multipart", file, "g.@size"},
	} {
		got, err := documentOf(formatTypes[c[0]], "", c[1]).Lookup(c[2])
		if problemOf(err) != ProblemNotReadable {
			t.Errorf("%v is %q, error %v", c, got, err)
		}
	}
}

// Threat T22: bodies that cost much more to read than to send.
func TestFormatsBounded(t *testing.T) {
	repeat := strings.Repeat
	cases := map[string][2]string{
		"elements":   {"application/xml", "<a>" + repeat("<b/>", maxNodes+1) + "</a>"},
		"attributes": {"application/xml", "<a " + repeat(`b="" `, maxNodes+1) + "/>"},
		"depth":      {"application/xml", repeat("<a>", 33) + repeat("</a>", 33)},
		"namespaces": {"application/xml", repeat("<a xmlns='u'>", 70) + repeat("</a>", 70)},
		"values":     {"application/json", "[" + repeat("0,", maxNodes) + "0]"},
		"fields":     {formType, "a=1" + fieldsList(1001)},
		"name":       {formType, repeat("a", 257) + "=1"},
		"no body":    {"application/json", ""},
		"no element": {"application/xml", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := (&Document{contentType: c[0], body: []byte(c[1])}).Check()
			if problemOf(err) != ProblemNotReadable {
				t.Errorf("problem is %q (%v)", problemOf(err), err)
			}
		})
	}
	deep := repeat("<a>", 32) + repeat("</a>", 32)
	err := (&Document{contentType: "text/xml", body: []byte(deep)}).Check()
	if err != nil {
		t.Errorf("depth 32: %v", err)
	}
	err = (&Document{contentType: formType, body: []byte("a=1" + fieldsList(999))}).Check()
	if err != nil {
		t.Errorf("1000 fields: %v", err)
	}
}

// fieldsList is n more fields.
func fieldsList(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("&f" + strconv.Itoa(i) + "=1")
	}
	return b.String()
}

func TestValues(t *testing.T) {
	cases := []struct{ mediaType, body, path, want string }{
		{"application/json", `{"items":[{"a":"1"},{"a":2}]}`, "items.*.a", "1 2"},
		{"application/json", `{"items":[{"a":["1","2"]},{"a":["3"]}]}`, "items.*.a.*", "1 2 3"},
		{"application/json", `{"items":[]}`, "items.*.a", ""},
		{"application/xml", "<d><p><t>1</t><t>2</t></p><p><t>3</t></p></d>", "d.p.*.t.*", "1 2 3"},
		{"application/xml", "<d><t c='EUR'/><t c='USD'/></d>", "d.t.*.@c", "EUR USD"},
		{"application/xml", "<d/>", "d.t.*", ""},
	}
	for _, c := range cases {
		p, err := ParsePath(c.path)
		if err != nil || !p.Many() {
			t.Fatal(c.path, err)
		}
		d := documentOf(c.mediaType, "", c.body)
		got, err := d.Values(p)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s in %s: %q, %v", c.path, c.body, got, err)
		}
		_, err = d.Value(p)
		if problemOf(err) != ProblemNotReadable {
			t.Errorf("%s is one value: %v", c.path, err)
		}
	}
	// One that cannot be read spoils all.
	d := documentOf("application/json", "", `{"items":[{"a":"1"},{}]}`)
	p, err := ParsePath("items.*.a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Values(p)
	if problemOf(err) != ProblemNotReadable {
		t.Errorf("a missing one is passed over: %v", err)
	}
}

func TestParsePath(t *testing.T) {
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", `a\`, `a\b`, `a\ b`} {
		_, err := ParsePath(bad)
		if err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	d := documentOf("application/json", "", `{"a.b":{"*":"star","#":"hash","0":"zero","@c":"at","\\":"back"}}`)
	for path, want := range map[string]string{
		`a\.b.\*`: "star", `a\.b.\#`: "hash", `a\.b.0`: "zero", `a\.b.\0`: "zero", `a\.b.@c`: "at", `a\.b.\@c`: "at", `a\.b.\\`: "back",
	} {
		got, err := d.Lookup(path)
		if err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", path, got, err, want)
		}
	}
	p, err := ParsePath("soap:Body.x.@p:y")
	if err != nil || strings.Join(p.Prefixes(), " ") != "soap p" {
		t.Errorf("prefixes %v, %v", p.Prefixes(), err)
	}
}

// Threat G06: `_method` in a body, whatever a framework takes for it.
func TestOverrideInBody(t *testing.T) {
	part := "--x\r\nContent-Disposition: form-data; name=%\r\n\r\nDELETE\r\n--x--\r\n"
	cases := []struct {
		mediaType, body string
		refused         bool
	}{
		{formType, "amount=1&_method=DELETE", true},
		{formType, "_METHOD=put", true},
		{formType, "%5fmethod=put", true},
		{formType, "+_method=put", true},
		{formType, ".method=put", true},
		{formType, "a=1;_method=put", true},
		{formType, "_method[]=put", true},
		{formType, "a=%zz&_method", true},
		{formType + ";charset=utf-7", "_method=put", true},
		{formType + "; broken", "_method=put", true},
		{"", "_method=put", true},
		{formType, "method=put&payment_method=sepa&amount=_method", false},
		{"application/json", `{"_method":"PUT"}`, false},
		{"multipart/form-data; boundary=x", strings.ReplaceAll(part, "%", `"_method"`), true},
		{"multipart/form-data; boundary=x", strings.ReplaceAll(part, "%", `"_Method"`), true},
		{"multipart/form-data; boundary=x", strings.ReplaceAll(part, "%", `_method`), true},
		{"multipart/form-data; boundary=x", "preamble\r\n" + strings.ReplaceAll(part, "%", `"_method"`), true},
		{"multipart/form-data; boundary=y", strings.ReplaceAll(part, "%", `"_method"`), true},
		{"multipart/mixed; boundary=x", strings.ReplaceAll(part, "%", `".method"`), true},
		{"multipart/form-data; boundary=x", strings.ReplaceAll(part, "%", `"method"`), false},
	}
	for _, c := range cases {
		err := documentOf(c.mediaType, "", c.body).checkOverride()
		if refused := problemOf(err) == ProblemOverride; refused != c.refused {
			t.Errorf("%s %q: %v", c.mediaType, c.body, err)
		}
	}
	upstream := &counting{}
	b := newBench(t, upstream.next)
	answer := b.do("POST", "/p", "a=1&_method=DELETE", map[string][]string{"Content-Type": {formType}})
	if answer.Code != 400 || upstream.count() != 0 || b.client.asked() != 0 {
		t.Errorf("status is %d, sent %d times, asked %d times", answer.Code, upstream.count(), b.client.asked())
	}
}

// Whatever is read, nothing panics, and what is accepted once is accepted again
// with the same fields.
func FuzzFormats(f *testing.F) {
	for format, mediaType := range formatTypes {
		for _, name := range []string{"refused", "accepted"} {
			content, err := os.ReadFile(filepath.Join("testdata", format, name+".txt"))
			if err != nil || len(content) == 0 {
				f.Fatal(err)
			}
			for _, line := range lines(f, filepath.Join("testdata", format, name+".txt")) {
				body, _, _ := strings.Cut(line, "\t")
				f.Add(mediaType, []byte(body))
			}
		}
	}
	f.Fuzz(func(t *testing.T, mediaType string, body []byte) {
		d := &Document{contentType: mediaType, body: body}
		err := d.Check()
		_ = (&Document{contentType: mediaType, body: body}).checkOverride()
		if err != nil {
			return
		}
		root, isXML := d.root.(*xmlRoot)
		if isXML {
			checkAgainstXMLLibrary(t, body, root.element)
		}
		fields, isForm := d.root.(*formFields)
		if isForm && strings.HasPrefix(mediaType, formType) {
			checkAgainstFormLibrary(t, body, fields)
		}
	})
}
