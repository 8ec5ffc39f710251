package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

const clientID = "bench"

// nobodysPassword is for users who never sign in: the driver approves by the
// provider's test endpoint.
const nobodysPassword = "$argon2id$v=19$m=47104,t=1,p=1$WeRFYIDW4HSIHK1R4YGxag$K1ZiZ+Bgllnq4Q2Xg6foe23YNtuBWfvYUDnYgTIC56k"

// clientSecret is one for both sides, made anew for each run.
var clientSecret = rand.Text()

// side is a running provider.
type side struct {
	name   string
	issuer string
	pid    int
	stop   func()

	backchannel, token string
	client             *http.Client
	asked              atomic.Int64 // customers so far
}

// newSide returns a side whose process listens, and reads where its endpoints are.
func newSide(ctx context.Context, name, issuer string, cmd *exec.Cmd, s settings, stop func()) (*side, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: s.workers, MaxConnsPerHost: s.workers}
	side := &side{
		name: name, issuer: issuer, pid: cmd.Process.Pid,
		client: &http.Client{Transport: transport, Timeout: 30 * time.Second},
	}
	side.stop = func() {
		transport.CloseIdleConnections()
		stop()
	}
	var found struct {
		Backchannel string `json:"backchannel_authentication_endpoint"`
		Token       string `json:"token_endpoint"`
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		err := side.getJSON(ctx, issuer+"/.well-known/openid-configuration", &found)
		if err == nil {
			break
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			side.stop()
			return nil, fmt.Errorf("reading metadata: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	side.backchannel, side.token = found.Backchannel, found.Token
	return side, nil
}

// startCaddy builds Caddy with our modules and runs it.
func startCaddy(ctx context.Context, dir string, s settings) (*side, error) {
	binary := filepath.Join(dir, "caddy")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./examples/caddy")
	build.Stderr = os.Stderr
	err := build.Run()
	if err != nil {
		return nil, fmt.Errorf("building caddy (run this in the root of the repository): %w", err)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	issuer := "http://" + address
	var users strings.Builder
	for n := range s.users {
		fmt.Fprintf(&users, "\t\tuser user%d {\n\t\t\tpassword %s\n\t\t}\n", n, nobodysPassword)
	}
	config := filepath.Join(dir, "Caddyfile")
	err = os.WriteFile(config, []byte(fmt.Sprintf(`{
	admin off
	persist_config off
	log {
		level ERROR
	}
}
%[1]s {
	ciba_idp %[1]s {
		store bolt %[2]s
		insecure_test_approvals
		client %[3]s {
			secret {env.BENCH_SECRET}
			scopes openid
		}
%[4]s	}
}
`, issuer, filepath.Join(dir, "bench.db"), clientID, users.String())), 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "run", "--config", config, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "BENCH_SECRET="+clientSecret, "XDG_DATA_HOME="+filepath.Join(dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	if err != nil {
		return nil, err
	}
	return newSide(ctx, "ciba_idp", issuer, cmd, s, func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
}

// startPeer runs node oidc-provider.
func startPeer(ctx context.Context, s settings) (*side, error) {
	dir := filepath.Join("idp", "benchmark")
	_, err := os.Stat(filepath.Join(dir, "node_modules", "oidc-provider"))
	if err != nil {
		return nil, fmt.Errorf("node oidc-provider is missing (npm ci --prefix %s): %w", dir, err)
	}
	cmd := exec.Command("node", "peer.mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BENCH_SECRET="+clientSecret, fmt.Sprint("BENCH_USERS=", s.users), "NODE_ENV=production")
	if s.peerJWT {
		cmd.Env = append(cmd.Env, "BENCH_PEER_JWT=1")
	}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	err = cmd.Start()
	if err != nil {
		return nil, err
	}
	stop := func() {
		_ = input.Close()
		_ = cmd.Wait()
	}
	reader := bufio.NewReader(output)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			stop()
			return nil, errors.Join(err, errors.New(complaints.String()))
		}
		if strings.HasPrefix(line, "http://") {
			go func() { _, _ = io.Copy(io.Discard, reader) }()
			return newSide(ctx, "oidc-provider", strings.TrimSpace(line), cmd, s, stop)
		}
	}
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
