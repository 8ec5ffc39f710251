package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Where the driver looks into the process.
const (
	collectPath = "/collect"
	profilePath = "/profile/"
)

// sampleContention is one in how many contentions of locks a profile has.
const sampleContention = 10

func init() {
	caddy.RegisterModule(Inspect{})
	httpcaddyfile.RegisterHandlerDirective("benchmark_inspect", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(Inspect), nil
	})
	httpcaddyfile.RegisterDirectiveOrder("benchmark_inspect", httpcaddyfile.Before, "map")
}

// Inspect lets the driver look into the process, on both sides alike: it collects
// garbage, tells of memory and takes profiles.
type Inspect struct {
	cpu *cpuProfile
}

// cpuProfile is a profile of processor time that is being taken.
type cpuProfile struct {
	mu   sync.Mutex
	data *bytes.Buffer
}

// start begins it.
func (c *cpuProfile) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.data = new(bytes.Buffer)
	return pprof.StartCPUProfile(c.data)
}

// stop ends it and returns it.
func (c *cpuProfile) stop() *bytes.Buffer {
	pprof.StopCPUProfile()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data == nil {
		return new(bytes.Buffer)
	}
	return c.data
}

// CaddyModule returns the Caddy module information.
func (Inspect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.benchmark_inspect", New: func() caddy.Module { return new(Inspect) }}
}

// Provision makes the handler ready.
func (i *Inspect) Provision(caddy.Context) error {
	i.cpu = new(cpuProfile)
	return nil
}

// ServeHTTP does what the driver asks for.
func (i *Inspect) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.URL.Path == collectPath {
		return collect(w)
	}
	name, found := strings.CutPrefix(r.URL.Path, profilePath)
	if !found {
		return next.ServeHTTP(w, r)
	}
	profile := pprof.Lookup(name)
	switch {
	case name == "cpu" && r.Method == http.MethodPost:
		runtime.SetMutexProfileFraction(sampleContention)
		return i.cpu.start()
	case name == "cpu":
		_, err := i.cpu.stop().WriteTo(w)
		return err
	case profile == nil:
		return caddyhttp.Error(http.StatusNotFound, errors.New("no such profile"))
	}
	return profile.WriteTo(w, 0)
}

// collect collects garbage, so that what is left of memory is what is in use, and
// tells what that is.
func collect(w http.ResponseWriter) error {
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]int64{
		"heap": int64(stats.HeapAlloc), "stacks": int64(stats.StackInuse), "goroutines": int64(runtime.NumGoroutine()),
	})
}
