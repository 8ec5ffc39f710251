package caddyaudit

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// What OnFailure can be.
const (
	Refuse   = "refuse"
	Continue = "continue"
)

// minMaxSize keeps files from having hardly more than one entry.
const minMaxSize = 64 << 10

// Options are an audit log: a file of JSON lines, each with the hash of the one in
// front of it, and with signed checkpoints, so that `audit verify` finds every change.
type Options struct {
	// File is the path of the log. It is made with mode 0600; its directory must be
	// there. Each process needs a file of its own. Placeholders are resolved when the
	// configuration is loaded. Required.
	File string `json:"file,omitempty"`

	// Node names this process in each entry. Placeholders are resolved when the
	// configuration is loaded. Default: the host's name.
	Node string `json:"node,omitempty"`

	// MaxSize is the size in bytes behind which the file is renamed, to its name and
	// the number of its last line, and another one goes on. Nothing is deleted.
	// Default: 104857600. Minimum: 65536.
	MaxSize int64 `json:"max_size,omitempty"`

	// OnFailure is what happens while the log takes no entries, because the disk is
	// full or the store has not given its key: with `refuse`, nobody is asked and
	// nothing is sent that would not stand in the log; with `continue`, the failure is
	// logged and all goes on. Default: `refuse`.
	OnFailure string `json:"on_failure,omitempty"`
}

// UnmarshalCaddyfile reads the options. Syntax:
//
//	audit [<file>] {
//		file       <path>
//		node       <name>
//		max_size   <size>
//		on_failure refuse|continue
//	}
func (o *Options) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		o.File = d.Val()
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	seen := map[string]bool{"file": o.File != ""}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("%s already specified", option)
		}
		seen[option] = true
		var value string
		if !d.AllArgs(&value) {
			return d.ArgErr()
		}
		switch option {
		case "file":
			o.File = value
		case "node":
			o.Node = value
		case "on_failure":
			o.OnFailure = value
		case "max_size":
			size, err := humanize.ParseBytes(value)
			if err != nil || size > 1<<50 {
				return d.Errf("invalid max_size '%s'", value)
			}
			o.MaxSize = int64(size)
		default:
			return d.Errf("unrecognized option '%s' of audit", option)
		}
	}
	err := o.Check()
	if err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Check finds what is wrong with the options without opening anything.
func (o *Options) Check() error {
	switch {
	case o.File == "":
		return errors.New("audit needs a file")
	case o.MaxSize != 0 && o.MaxSize < minMaxSize:
		return fmt.Errorf("audit: max_size must be at least %d bytes", minMaxSize)
	case o.OnFailure != "" && o.OnFailure != Refuse && o.OnFailure != Continue:
		return fmt.Errorf("audit: on_failure '%s' is neither %s nor %s", o.OnFailure, Refuse, Continue)
	}
	return nil
}

// resolved returns the options with placeholders and defaults filled in.
func (o *Options) resolved() (Options, error) {
	err := o.Check()
	if err != nil {
		return Options{}, err
	}
	full := *o
	if full.Node == "" {
		full.Node, err = os.Hostname()
		if err != nil {
			return Options{}, fmt.Errorf("audit: finding the host's name: %w", err)
		}
	}
	repl := caddy.NewReplacer()
	for _, field := range []*string{&full.File, &full.Node} {
		*field, err = repl.ReplaceOrErr(*field, true, true)
		if err != nil {
			return Options{}, fmt.Errorf("audit: %w", err)
		}
		if strings.TrimSpace(*field) == "" {
			return Options{}, errors.New("audit: file or node is empty")
		}
	}
	full.File, err = caddy.FastAbs(full.File)
	if err != nil {
		return Options{}, fmt.Errorf("audit: %w", err)
	}
	return full, nil
}
