package provider

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// CIBA checklist P7, C2; threats N10, T14, REG-1518
func TestClosedNetworks(t *testing.T) {
	for _, address := range []string{
		"127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1", "172.31.0.1", "192.168.1.1", "169.254.169.254",
		"100.64.0.1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "fd00::1", "fe80::1", "fe80::1%eth0", "64:ff9b::7f00:1",
		"2002:7f00:1::", "224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.0.1", "2001:db8::1", "::7f00:1",
	} {
		if isOpenAddress(netip.MustParseAddr(address), nil) {
			t.Errorf("%s is open", address)
		}
	}
	for _, address := range []string{"93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"} {
		if !isOpenAddress(netip.MustParseAddr(address), nil) {
			t.Errorf("%s is closed", address)
		}
	}
	opened := mustPrefixes("10.1.0.0/16")
	if !isOpenAddress(netip.MustParseAddr("10.1.2.3"), opened) || isOpenAddress(netip.MustParseAddr("10.2.2.3"), opened) {
		t.Error("an opened network is not what is open")
	}
}

// CIBA checklist C2, P7; threats N10
func TestCallbackURLs(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "badinput", "endpoints.txt"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(data)) {
		bad := strings.TrimSpace(line)
		if strings.HasPrefix(bad, "#") {
			continue
		}
		seen++
		if checkCallbackURL(bad, nil) == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	if seen < 20 {
		t.Errorf("only %d endpoints", seen)
	}
	for _, good := range []string{"https://rp.example.com/ping", "https://rp.example.com:8443/a?b=c", "https://93.184.216.34/"} {
		err := checkCallbackURL(good, nil)
		if err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// The address is looked at when the connection is made: here a name and the forms
// of an address that no parser of ours understands.
func TestDialIsChecked(t *testing.T) {
	called := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer server.Close()
	client := newCallbackClient(nil, nil)
	defer client.CloseIdleConnections()
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	for _, host := range []string{"127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]"} {
		response, err := client.Get("http://" + host + port)
		if err == nil {
			response.Body.Close()
			t.Errorf("%s was called", host)
		}
	}
	if called {
		t.Error("a closed address was reached")
	}
}
