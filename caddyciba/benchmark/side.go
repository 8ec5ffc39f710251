package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// gates is over how many providers the requests are spread: what one gate holds is
// limited.
const gates = 3

// side is a running Caddy.
type side struct {
	name    string
	url     string
	pid     int
	process *exec.Cmd
}

// gatewaySite is what is measured: a gate on all defaults but the limits by which
// one customer is not asked all the time.
func gatewaySite(issuer, delivery, dir, upstream string) (global, body string) {
	var g, b strings.Builder
	fmt.Fprintf(&g, "\tciba {\n\t\tstore bolt %s\n", filepath.Join(dir, "gateway.db"))
	if delivery == deliverPoll {
		delivery += "\n\t\t\tlong_poll 30s"
	} else {
		b.WriteString("\tciba_notify\n")
	}
	for n := range gates {
		fmt.Fprintf(&g, "\t\tprovider gate%d {\n\t\t\tissuer %s\n\t\t\tclient_id gate%d\n\t\t\tclient_secret {env.BENCH_SECRET}\n\t\t\tdelivery %s\n\t\t}\n", n, issuer, n, delivery)
		fmt.Fprintf(&b, "\t@gate%d path /%d/*\n\tciba @gate%d gate%d {\n\t\tcustomer {http.request.header.%s}\n\t\tmessage \"Pay 1 EUR\"\n\t\thold 10m\n\t\tlimit off\n\t}\n", n, n, n, n, customerHeader)
	}
	g.WriteString("\t}\n")
	b.WriteString(proxyTo(upstream))
	return g.String(), b.String()
}

// blockSite is what it is measured against.
func blockSite(upstream string) (global, body string) {
	return "", "\tbenchmark_block\n" + proxyTo(upstream)
}

// proxyTo sends requests to the upstream by a bounded number of connections.
func proxyTo(upstream string) string {
	return fmt.Sprintf("\treverse_proxy %s {\n\t\ttransport http {\n\t\t\tmax_conns_per_host %d\n\t\t\tkeepalive_idle_conns_per_host %d\n\t\t}\n\t}\n", upstream, upstreamConns, upstreamConns)
}

// startSide runs Caddy with one site.
func startSide(ctx context.Context, name, binary, dir, profiles, global, body string) (*side, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, name)
	err = os.MkdirAll(dir, 0o700)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "Caddyfile")
	err = os.WriteFile(config, []byte(fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	log {
		level ERROR
	}
	servers {
		protocols h1 h2c
		trusted_proxies static 127.0.0.1/32
	}
%s}
http://%s {
	benchmark_inspect
%s}
`, global, address, body)), 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "run", "--config", config, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "BENCH_SECRET="+clientSecret, "BENCH_PROFILES="+profiles, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	if err != nil {
		return nil, err
	}
	s := &side{name: name, url: "http://" + address, pid: cmd.Process.Pid, process: cmd}
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return s, conn.Close()
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			s.stop()
			return nil, fmt.Errorf("waiting for %s: %w", name, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *side) stop() {
	_ = s.process.Process.Signal(os.Interrupt)
	ended := make(chan struct{})
	go func() { _ = s.process.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = s.process.Process.Kill()
		<-ended
	}
}

// releaseAll lets the blocking handler go on with all requests.
func (s *side) releaseAll(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/release", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// blocked returns how many requests the blocking handler holds.
func (s *side) blocked() int {
	res, err := http.Get(s.url + "/held")
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	var count int
	_, err = fmt.Fscan(res.Body, &count)
	if err != nil {
		return 0
	}
	return count
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
