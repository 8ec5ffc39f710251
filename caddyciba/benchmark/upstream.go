package main

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// customerHeader names the customer of a request, to both sides alike.
const customerHeader = "X-Customer"

// upstream takes what is released, and notes when.
type upstream struct {
	address string
	server  *http.Server
	conns   atomic.Int64 // that were ever made

	mu      sync.Mutex
	arrived map[string][]time.Time // by customer
	last    time.Time
}

func startUpstream() (*upstream, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{address: listener.Addr().String(), arrived: make(map[string][]time.Time)}
	u.server = &http.Server{
		Handler: http.HandlerFunc(u.serve),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				u.conns.Add(1)
			}
		},
	}
	go func() { _ = u.server.Serve(listener) }()
	return u, nil
}

func (u *upstream) stop() { _ = u.server.Close() }

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	customer := r.Header.Get(customerHeader)
	u.mu.Lock()
	u.arrived[customer] = append(u.arrived[customer], now)
	u.last = now
	u.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusOK)
}

// arrivals returns when the requests of a customer have arrived.
func (u *upstream) arrivals(customer string) []time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.arrived[customer]
}

// total returns how many customers' requests have arrived, how many came more than
// once, and when the last one came.
func (u *upstream) total() (customers, repeated int, last time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, times := range u.arrived {
		if len(times) > 1 {
			repeated++
		}
	}
	return len(u.arrived), repeated, u.last
}
