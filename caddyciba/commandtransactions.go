package caddyciba

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// maxAdminAnswer bounds what a command reads of an answer.
const maxAdminAnswer = 16 << 20

func transactionsCommand() *cobra.Command {
	var flags configFlags
	var state, after string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "transactions [--state <state>|all] [--after <id>] [--limit <n>] [--json]",
		Short: "Lists transactions",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			if state != "all" {
				query.Set("state", state)
			}
			if after != "" {
				query.Set("after", after)
			}
			answer, err := flags.ask(http.MethodGet, "transactions?"+query.Encode(), nil)
			if err != nil {
				return err
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(answer)
				return err
			}
			var list []*stepup.Transaction
			err = json.Unmarshal(answer, &list)
			if err != nil {
				return fmt.Errorf("reading answer: %w", err)
			}
			return printTransactions(cmd.OutOrStdout(), list)
		},
	}
	flags.add(cmd, true)
	cmd.Flags().StringVar(&state, "state", string(stepup.StateInDoubt), "State: held, requested, approved, sending, answered, denied, expired, cancelled, failed, in_doubt, resolved, or all")
	cmd.Flags().StringVar(&after, "after", "", "Begins behind this transaction, for the next page of one state")
	cmd.Flags().IntVar(&limit, "limit", adminPage, "How many at most")
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	return cmd
}

// printTransactions writes one line for each transaction.
func printTransactions(out io.Writer, list []*stepup.Transaction) error {
	if len(list) == 0 {
		_, err := io.WriteString(out, "There are none.\n")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "TRANSACTION\tSTATE\tSINCE\tREQUEST\tROUTE")
	for _, t := range list {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s %s%s\t%s\n",
			t.ID, t.State, t.Times[t.State].Local().Format(time.DateTime), t.Method, t.Host, t.Target, t.Route)
	}
	return table.Flush()
}

func showCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "show <transaction>",
		Short: "Shows one transaction",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := flags.ask(http.MethodGet, "transactions/"+url.PathEscape(args[0]), nil)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), answer)
		},
	}
	flags.add(cmd, true)
	return cmd
}

func cancelCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "cancel <transaction>",
		Short: "Stops a transaction of which nothing has been sent",
		Long:  "Stops a transaction of which nothing has been sent. Nothing is sent from then on, whatever the customer decides. A caller that waits is told when the customer has decided, or the hold is over.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := flags.ask(http.MethodPost, "transactions/"+url.PathEscape(args[0])+"/cancel", nil)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), answer)
		},
	}
	flags.add(cmd, true)
	return cmd
}

func resolveCommand() *cobra.Command {
	var flags configFlags
	var outcome, note string
	cmd := &cobra.Command{
		Use:   "resolve <transaction> --outcome executed|not_executed [--note <text>]",
		Short: "Writes down what became of a transaction in doubt",
		Long:  "Writes down what became of a transaction in doubt, after somebody has looked it up at the upstream. It is not sent again in any case, and not listed as in doubt any more.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := json.Marshal(map[string]string{"outcome": outcome, "note": note})
			if err != nil {
				return err
			}
			answer, err := flags.ask(http.MethodPost, "transactions/"+url.PathEscape(args[0])+"/resolve", body)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), answer)
		},
	}
	flags.add(cmd, true)
	cmd.Flags().StringVar(&outcome, "outcome", "", "executed or not_executed")
	cmd.Flags().StringVar(&note, "note", "", "How it was found out")
	return cmd
}

// ask calls the admin API of the running Caddy. The error of an answer that is none
// is what Caddy says.
func (f *configFlags) ask(method, path string, body []byte) ([]byte, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, nil, f.config, f.adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin API: %w", err)
	}
	header := http.Header{}
	var content io.Reader
	if body != nil {
		header.Set("Content-Type", "application/json")
		content = bytes.NewReader(body)
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, adminBase+path, header, content)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading answer: %w", err)
	}
	return answer, nil
}

// printJSON writes JSON for people.
func printJSON(out io.Writer, answer []byte) error {
	var b bytes.Buffer
	err := json.Indent(&b, bytes.TrimSpace(answer), "", "  ")
	if err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	b.WriteByte('\n')
	_, err = b.WriteTo(out)
	return err
}

func rotateCommand() *cobra.Command {
	var flags configFlags
	var issuer string
	cmd := &cobra.Command{
		Use:   "rotate-dpop-key [--issuer <url>]",
		Short: "Makes new keys for DPoP proofs",
		Long:  "Makes new keys for DPoP proofs, of all gates or of those that ask one provider. Tokens from then on are bound to the new key; those that are on their way, or that cover later requests, can be used on. Keys of the option dpop_key are not replaced.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			resource := "dpop-key/rotate"
			if issuer != "" {
				resource += "?" + url.Values{"issuer": {issuer}}.Encode()
			}
			answer, err := flags.ask(http.MethodPost, resource, nil)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), answer)
		},
	}
	flags.add(cmd, true)
	cmd.Flags().StringVar(&issuer, "issuer", "", "Only for gates that ask this provider")
	return cmd
}
