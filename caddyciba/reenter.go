package caddyciba

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// origin is how a request came to this server, for it to come by the same routes
// once more after a restart. Where it is stored it is encrypted.
type origin struct {
	Server     string      `json:"server"`
	Method     string      `json:"method"`
	URI        string      `json:"uri"`
	Host       string      `json:"host"`
	Header     http.Header `json:"header"`
	Length     int64       `json:"length"`
	RemoteAddr string      `json:"remote_addr"`
	LocalAddr  string      `json:"local_addr,omitempty"`
	Proto      string      `json:"proto"`
	TLS        *originTLS  `json:"tls,omitempty"`
}

// originTLS is what handlers and placeholders ask of the caller's connection.
type originTLS struct {
	Version      uint16   `json:"version"`
	CipherSuite  uint16   `json:"cipher_suite"`
	ServerName   string   `json:"server_name,omitempty"`
	Protocol     string   `json:"protocol,omitempty"`
	Certificates [][]byte `json:"certificates,omitempty"`
}

// originOf takes down how a request came, before the gate changes it.
func originOf(r *http.Request) func() (json.RawMessage, error) {
	o := origin{
		Method:     r.Method,
		URI:        address(r),
		Host:       r.Host,
		Header:     r.Header.Clone(),
		Length:     r.ContentLength,
		RemoteAddr: r.RemoteAddr,
		Proto:      r.Proto,
	}
	first, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if ok {
		o.Method, o.RemoteAddr = first.Method, first.RemoteAddr
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server != nil {
		o.Server = server.Name()
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if ok {
		o.LocalAddr = local.String()
	}
	if r.TLS != nil {
		o.TLS = &originTLS{
			Version: r.TLS.Version, CipherSuite: r.TLS.CipherSuite,
			ServerName: r.TLS.ServerName, Protocol: r.TLS.NegotiatedProtocol,
		}
		for _, certificate := range r.TLS.PeerCertificates {
			o.TLS.Certificates = append(o.TLS.Certificates, certificate.Raw)
		}
	}
	return func() (json.RawMessage, error) {
		text, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("encoding origin of request: %w", err)
		}
		return text, nil
	}
}

var (
	errServerGone = errors.New("the server of the request has no gate of this provider any more")
	errBodyKept   = errors.New("body of a kept request is for its gate alone")
)

// keptBody stands for the body of a request that is on its way back to its gate,
// which has the real one. A handler that would send the request on without the
// gate cannot.
type keptBody struct{}

func (keptBody) Read([]byte) (int, error) { return 0, errBodyKept }
func (keptBody) Close() error             { return nil }

// reenter sends a kept request through the routes of its server once more, as
// the configuration has them now. It is not begun if that server has no gate of
// this provider any more: the request would come to the upstream without one.
func (g *gate) reenter(ctx context.Context, w http.ResponseWriter, text json.RawMessage) error {
	var o origin
	err := json.Unmarshal(text, &o)
	if err != nil {
		return fmt.Errorf("decoding origin of request: %w", err)
	}
	servers := g.servers.Load()
	if servers == nil {
		return errServerGone
	}
	i := slices.IndexFunc(*servers, func(s *caddyhttp.Server) bool { return s.Name() == o.Server })
	if i < 0 {
		return errServerGone
	}
	r, err := o.request(ctx)
	if err != nil {
		return err
	}
	(*servers)[i].ServeHTTP(w, r)
	return nil
}

// isAhead reports whether a server asks the service at an address who a caller
// is, before the request comes to a gate.
func (g *gate) isAhead(hostPort string) bool {
	ahead := g.ahead.Load()
	return ahead != nil && slices.Contains(*ahead, hostPort)
}

// request makes the request as the server got it.
func (o *origin) request(ctx context.Context) (*http.Request, error) {
	target, err := url.ParseRequestURI(o.URI)
	if err != nil {
		return nil, errors.New("target of kept request is not a URL")
	}
	local, err := netip.ParseAddrPort(o.LocalAddr)
	if err == nil {
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(net.TCPAddrFromAddrPort(local)))
	} else {
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Net: "unix", Name: o.LocalAddr}))
	}
	r := (&http.Request{
		Method:        o.Method,
		URL:           target,
		Host:          o.Host,
		RequestURI:    o.URI,
		Header:        o.Header,
		RemoteAddr:    o.RemoteAddr,
		Proto:         o.Proto,
		ContentLength: o.Length,
		Body:          http.NoBody,
	}).WithContext(ctx)
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	r.ProtoMajor, r.ProtoMinor, _ = http.ParseHTTPVersion(o.Proto)
	if o.Length != 0 {
		r.Body = keptBody{}
	}
	if o.TLS == nil {
		return r, nil
	}
	r.TLS = &tls.ConnectionState{
		HandshakeComplete: true, Version: o.TLS.Version, CipherSuite: o.TLS.CipherSuite,
		ServerName: o.TLS.ServerName, NegotiatedProtocol: o.TLS.Protocol,
	}
	for _, raw := range o.TLS.Certificates {
		certificate, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("reading caller's certificate: %w", err)
		}
		r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, certificate)
	}
	return r, nil
}
