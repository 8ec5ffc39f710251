package suite

import (
	"crypto/tls"
	"net"
	"net/url"
	"time"
)

// fapiCiphers are the cipher suites that FAPI allows with TLS 1.2 (FAPI 1.0 part 2
// section 8.5). Those with DHE are unknown to crypto/tls.
var fapiCiphers = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}

// checkTLS checks the versions and cipher suites of an endpoint. Where other
// suites are allowed, anyCipher says so.
func (r *run) checkTLS(address string, anyCipher bool) {
	r.Helper()
	u, err := url.Parse(address)
	if err != nil {
		r.Fatal(err)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "443")
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		_, err := r.handshake(host, &tls.Config{MinVersion: version, MaxVersion: version})
		if err == nil {
			r.Errorf("%s takes %s", host, tls.VersionName(version))
		}
	}
	got, err := r.handshake(host, &tls.Config{MinVersion: tls.VersionTLS12})
	if err != nil || got != tls.VersionTLS13 {
		r.Errorf("%s prefers %s over TLS 1.3: %v", host, tls.VersionName(got), err)
	}
	_, err = r.handshake(host, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: fapiCiphers})
	if err != nil {
		r.Logf("%s is for TLS 1.3 only: %v", host, err)
	}
	if anyCipher {
		return
	}
	for _, cipher := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if cipher.ID == fapiCiphers[0] || cipher.ID == fapiCiphers[1] {
			continue
		}
		_, err := r.handshake(host, &tls.Config{
			MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{cipher.ID},
		})
		if err == nil {
			r.Errorf("%s takes %s with TLS 1.2", host, cipher.Name)
		}
	}
}

// handshake connects and returns the version that was agreed upon.
func (r *run) handshake(host string, cfg *tls.Config) (uint16, error) {
	cfg.RootCAs = r.Roots
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", host, cfg)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	return connection.ConnectionState().Version, nil
}
