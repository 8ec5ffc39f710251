package caddyciba

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/browsertest"
)

// bankSite is a bank's web page with a form for transfers and one for files, and
// an answer with a link that is relative to the address of the form's target.
func bankSite(t *testing.T) (*fakeOP, *bank, *site) {
	t.Helper()
	op, b := newFakeOP(t), newBank(t)
	b.handle = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		switch {
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `<!doctype html><title>Bank</title><h1>Thank you</h1><a id="next" href="receipt">Receipt</a>`)
		case strings.HasSuffix(r.URL.Path, "/receipt"):
			_, _ = io.WriteString(w, "<!doctype html><title>Bank</title><h1>Your receipt</h1>")
		default:
			_, _ = io.WriteString(w, `<!doctype html><title>Bank</title><form method="post" action="/pay/transfers?from=web">
<input name="amount" value="1250.00"><input name="to" value="Danny Ocean"><button id="pay">Pay</button></form>
<form method="post" action="/pay/upload" enctype="multipart/form-data"><input type="file" name="orders" id="file"><button id="send">Send</button></form>`)
		}
	}
	s := startSite(t, memoryStore, fmt.Sprintf(`
	@pay method POST
	ciba @pay %s {
		customer alice
		message  "Pay 1250.00 EUR to Danny Ocean"
		match_code
		limit off
	}
	reverse_proxy %s`, op.URL, b.addr()))
	return op, b, s
}

// posted are the posts that have reached the bank.
func posted(b *bank) []received {
	var all []received
	for _, r := range b.received() {
		if r.method == http.MethodPost {
			all = append(all, r)
		}
	}
	return all
}

// A bank's form in a real browser: a waiting page, the phone, the bank's answer.
func TestBrowser(t *testing.T) {
	for _, scripts := range []bool{true, false} {
		t.Run(fmt.Sprint("scripts ", scripts), func(t *testing.T) {
			op, b, s := bankSite(t)
			page := browsertest.New(t)
			page.Open("http://" + s.addr + "/")
			page.Scripts(scripts)
			page.Press("#pay")
			page.Has("Waiting for approval on the phone")
			page.Has("Pay 1250.00 EUR to Danny Ocean")
			code := browsertest.Eval[string](page, "document.querySelector('output').textContent")
			if message := op.started()[0].form.Get("binding_message"); len(code) != 2 || !strings.HasPrefix(message, code+" ") {
				t.Errorf("the page shows %q, the phone %q", code, message)
			}
			if n := len(posted(b)); n != 0 {
				t.Fatalf("the bank got %d posts before the approval", n)
			}
			op.setDecision(approve)
			if !scripts {
				page.Has("Approved")
				page.Press("#go button")
			}
			page.Has("Thank you")
			got := posted(b)
			if len(got) != 1 || got[0].body != "amount=1250.00&to=Danny+Ocean" || got[0].target != "/pay/transfers?from=web" ||
				got[0].header.Get("Authorization") != "Bearer token-of-alice" {
				t.Errorf("the bank got %+v", got)
			}
			page.Press("#next") // relative to the address of the request
			page.Has("Your receipt")
		})
	}
}

// Denied, cancelled on the page, and not decided.
func TestBrowserEnds(t *testing.T) {
	op, b, s := bankSite(t)
	page := browsertest.New(t)
	for want, end := range map[string]func(){
		"Denied on the phone":  func() { op.setDecision(deny) },
		"Not approved in time": func() { op.setDecision(expire) },
		"Cancelled":            func() { page.Press("form[action$='/cancel'] button") },
	} {
		op.setDecision(pending)
		page.Open("http://" + s.addr + "/")
		page.Press("#pay")
		page.Has("Waiting for approval")
		end()
		page.Has(want)
		page.Has("Nothing was sent.")
	}
	if n := len(posted(b)); n != 0 {
		t.Errorf("the bank got %d posts", n)
	}
}

// A file survives byte for byte.
func TestBrowserUpload(t *testing.T) {
	op, b, s := bankSite(t)
	op.setDecision(approve)
	content := make([]byte, 20_000)
	for i := range content {
		content[i] = byte(i * 7)
	}
	file := filepath.Join(t.TempDir(), "orders.bin")
	err := os.WriteFile(file, content, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	page := browsertest.New(t)
	page.Open("http://" + s.addr + "/")
	page.Upload("#file", file)
	page.Press("#send")
	page.Has("Thank you")
	got := posted(b)
	if len(got) != 1 {
		t.Fatalf("the bank got %d posts", len(got))
	}
	_, params, err := mime.ParseMediaType(got[0].header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	part, err := multipart.NewReader(strings.NewReader(got[0].body), params["boundary"]).NextPart()
	if err != nil {
		t.Fatal(err)
	}
	arrived, err := io.ReadAll(part)
	if err != nil || string(arrived) != string(content) || part.FileName() != "orders.bin" {
		t.Errorf("file %q arrived with %d bytes, %v", part.FileName(), len(arrived), err)
	}
}

// TestWaitingScreenshots writes pictures of the waiting page into the folder that
// CIBA_SCREENSHOTS names, for a person to look at.
func TestWaitingScreenshots(t *testing.T) {
	if os.Getenv("CIBA_SCREENSHOTS") == "" {
		t.Skip("CIBA_SCREENSHOTS names no folder")
	}
	op, _, s := bankSite(t)
	page := browsertest.New(t)
	for _, look := range [][2]string{{"en", "light"}, {"de", "dark"}, {"fr", "light"}, {"es", "dark"}} {
		page.Speak(look[0])
		page.Media("prefers-color-scheme", look[1])
		pay := func(decision fakeDecision, scripts bool, until string) {
			op.setDecision(decision)
			page.Open("http://" + s.addr + "/")
			page.Scripts(scripts)
			page.Press("#pay")
			page.Until("document.querySelector(" + until + ")")
		}
		cancel := func() {
			page.Press("form[action$='/cancel'] button")
			page.Until(`document.querySelector(".sheet:not([data-state])")`)
		}
		pay(pending, true, `".sheet[data-state]"`)
		page.Shoot("waiting-waiting-" + look[0])
		cancel()
		pay(deny, true, `".sheet.bad"`)
		page.Shoot("waiting-denied-" + look[0])
		pay(approve, false, `"#go"`)
		page.Shoot("waiting-approved-" + look[0])
		cancel()
		page.Scripts(true)
	}
}
