package caddyaudit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyciba/gateway/caddyciba/store/audit"
)

// Command returns the command audit, with verify below it.
func Command() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Verifies audit logs"}
	cmd.AddCommand(verifyCommand())
	return cmd
}

func verifyCommand() *cobra.Command {
	var key string
	var checkpoints []string
	cmd := &cobra.Command{
		Use:   "verify <file>... [--key <key>] [--checkpoint <number>:<hash>]",
		Short: "Finds out whether an audit log is as it was written",
		Long: `Reads the files of one log, in the order in which they were written, and finds out
whether anything in them was changed, removed, inserted or exchanged. The first line
that is wrong is named, and the exit code is 1.

A log whose end was cut off is shorter, and nothing else. Give a checkpoint that was
seen elsewhere, such as in Caddy's log ("audit log was signed"), to find that out; and
the key that signs, as an earlier run has printed it, to find out that all of it was
written anew.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			expect, err := expectation(key, checkpoints)
			if err != nil {
				return err
			}
			report, err := audit.Verify(expect, files...)
			if err != nil {
				return err
			}
			return printReport(cmd.OutOrStdout(), report)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "The key of the checkpoints, as this command prints it")
	cmd.Flags().StringArrayVar(&checkpoints, "checkpoint", nil, "A checkpoint that must be in the log; may be repeated")
	return cmd
}

func expectation(key string, checkpoints []string) (audit.Expect, error) {
	var expect audit.Expect
	if key != "" {
		raw, err := base64.StdEncoding.DecodeString(key)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return expect, errors.New("the key is not 32 bytes in base64")
		}
		expect.Key = raw
	}
	for _, text := range checkpoints {
		c, err := audit.ParseCheckpoint(text)
		if err != nil {
			return expect, err
		}
		expect.Checkpoints = append(expect.Checkpoints, c)
	}
	return expect, nil
}

// printReport writes what was found in a log that is in order.
func printReport(out io.Writer, r *audit.Report) error {
	var b strings.Builder
	if r.Lines == 0 {
		b.WriteString("The log is empty.\n")
	} else {
		fmt.Fprintf(&b, "ok: lines %d to %d are as they were written by %s\n", r.First, r.Last, strings.Join(r.Nodes, ", "))
		if r.First > 1 {
			fmt.Fprintf(&b, "note: the %d lines in front of them are in files that were not given\n", r.First-1)
		}
		if r.Signed.Seq > 0 {
			fmt.Fprintf(&b, "last checkpoint: %s\nkey: %s\n", r.Signed, base64.StdEncoding.EncodeToString(r.Key))
		}
		if r.Unsigned > 0 {
			fmt.Fprintf(&b, "note: %d lines at the end are not signed yet\n", r.Unsigned)
		}
		for _, seq := range r.Torn {
			fmt.Fprintf(&b, "note: line %d tells of a line that was not written to its end\n", seq)
		}
		for _, seq := range r.Truncated {
			fmt.Fprintf(&b, "WARNING: line %d tells of signed lines that were missing when the log was opened\n", seq)
		}
	}
	_, err := io.WriteString(out, b.String())
	if err != nil {
		return err
	}
	if len(r.Truncated) > 0 {
		return errTruncated
	}
	return nil
}

var errTruncated = errors.New("lines were cut off from the end of the log")
