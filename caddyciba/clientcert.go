package caddyciba

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// A clientCertificate is what the gateway presents to the provider. It is read
// from its files again when they have changed, so that a renewed certificate needs
// no reload. A pair that cannot be read leaves the one before in use, which may
// happen for a moment while the files are being replaced.
type clientCertificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	current *tls.Certificate
	read    [2]time.Time // modification times of the files that current is from
}

// newClientCertificate reads the certificate for the first time.
func newClientCertificate(certFile, keyFile string) (*clientCertificate, error) {
	c := &clientCertificate{certFile: certFile, keyFile: keyFile}
	err := c.refresh()
	if err != nil {
		return nil, fmt.Errorf("reading client_cert: %w", err)
	}
	return c, nil
}

// get is for tls.Config.GetClientCertificate.
func (c *clientCertificate) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A failure keeps what there is; it shows when that one has expired.
	_ = c.refresh()
	return c.current, nil
}

// refresh reads the files if they are not those that have been read.
func (c *clientCertificate) refresh() error {
	var times [2]time.Time
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		times[i] = info.ModTime()
	}
	if c.current != nil && times == c.read {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	if pair.Leaf != nil && time.Now().After(pair.Leaf.NotAfter) && c.current == nil {
		return errors.New("the certificate has expired")
	}
	c.current, c.read = &pair, times
	return nil
}
