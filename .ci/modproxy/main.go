// Command modproxy stands in front of the Go module proxy and answers 404 for
// one module and everything above and below its path, so that a go command
// finds the module where a replace directive says it is, and nowhere else.
//
// It is needed as long as the module is not published: a module proxy is free to
// answer 403 for what it does not know, at which the go command gives up, while
// at 404 it looks on. All other requests go to the proxies of the environment.
//
//	modproxy -module example.org/module -upstream "$(go env GOPROXY)"
//
// The first line of its output is its address.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("modproxy: ")
	module := flag.String("module", "", "path of the module that does not exist")
	upstream := flag.String("upstream", "", "proxies for all others, as in GOPROXY; the first URL is taken")
	flag.Parse()
	err := run(*module, *upstream)
	if err != nil {
		log.Fatal(err)
	}
}

func run(module, upstream string) error {
	if module == "" || flag.NArg() > 0 {
		return errors.New("usage: modproxy -module <path> -upstream <GOPROXY>")
	}
	target, err := firstURL(upstream)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &http.Server{Handler: hide(module, forward(target)), ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

// firstURL returns the first entry of a GOPROXY list that is a proxy.
func firstURL(list string) (*url.URL, error) {
	for _, entry := range strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c == '|' }) {
		u, err := url.Parse(strings.TrimSpace(entry))
		if err == nil && (u.Scheme == "https" || u.Scheme == "http") {
			return u, nil
		}
	}
	return nil, errors.New("GOPROXY names no proxy to forward to")
}

// hide answers 404 for a module, for what lies below it, and for what it lies
// below: the go command looks for a package in each of these.
func hide(module string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/@")
		if strings.HasPrefix(path+"/", module+"/") || strings.HasPrefix(module, path+"/") {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// forward sends requests to the target.
func forward(target *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		password, ok := target.User.Password()
		if ok {
			r.Out.SetBasicAuth(target.User.Username(), password)
		}
	}}
}
