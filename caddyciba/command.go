package caddyciba

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddyciba/gateway/caddyciba/ciba"
	"github.com/caddyciba/gateway/caddyciba/store/caddyaudit"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ciba",
		Usage: "check|transactions|show|cancel|resolve|rotate-dpop-key|audit",
		Short: "Checks providers, and works on transactions of the CIBA gateway",
		Long: `
check compares a configuration with the providers that it names, as they are now:
what they publish, whether their clocks agree with ours, and whether they take the
gateway for the client that it says it is. No customer is asked, and no running
Caddy is needed.

The other commands talk to a running Caddy by its admin API. transactions lists
them, by default those in doubt: requests that the upstream may have carried out,
which are never sent again. Look each of them up at the upstream, tell the caller,
and write down by resolve what became of it. cancel stops one that has not been
sent. rotate-dpop-key makes new keys for proofs of possession. audit verify finds out
whether an audit log was changed, and needs no running Caddy.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(checkCommand(), transactionsCommand(), showCommand(), cancelCommand(), resolveCommand(), rotateCommand(), caddyaudit.Command())
		},
	})
}

// configFlags are the flags by which a command finds a configuration.
type configFlags struct{ config, adapter, address string }

func (f *configFlags) add(cmd *cobra.Command, running bool) {
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "Configuration file (default: Caddyfile in the current directory)")
	cmd.Flags().StringVarP(&f.adapter, "adapter", "a", "", "Name of the config adapter")
	if running {
		cmd.Flags().StringVar(&f.address, "address", "", "Address of the admin API (default: as the configuration says, or localhost:2019)")
	}
}

func checkCommand() *cobra.Command {
	var flags configFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [--config <path> [--adapter <name>]] [--json]",
		Short: "Compares a configuration with the live providers",
		Long:  "Compares a configuration with the providers that it names, as they are now. The exit code is 1 if anything was found that keeps requests from being approved, or if a provider does not answer.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCheck(cmd.Context(), flags, asJSON, cmd.OutOrStdout())
		},
	}
	flags.add(cmd, false)
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	return cmd
}

// errFound is the end of a check that has found something.
var errFound = errors.New("the gateway would not work with this configuration")

// runCheck provisions a configuration without starting anything, and checks it.
func runCheck(ctx context.Context, flags configFlags, asJSON bool, out io.Writer) error {
	content, file, _, err := caddycmd.LoadConfig(flags.config, flags.adapter)
	if err != nil {
		return err
	}
	if len(content) == 0 {
		return errors.New("no configuration: name one by --config, or run this beside a Caddyfile")
	}
	config := new(caddy.Config)
	err = json.Unmarshal(content, config)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	provisioned, err := caddy.ProvisionContext(config)
	if err != nil {
		return fmt.Errorf("loading %s: %w", file, err)
	}
	module, err := provisioned.AppIfConfigured("ciba")
	app, ok := module.(*App)
	if err != nil || !ok {
		return errors.New("the configuration has no gate and no global option ciba")
	}
	// Nothing else of the configuration is used, and nothing of it was started.
	defer func() { _ = app.Cleanup() }()
	if ctx == nil {
		ctx = context.Background()
	}
	checks := app.check(ctx)
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(checks)
	} else {
		err = printChecks(out, checks)
	}
	if err != nil {
		return err
	}
	switch worst(checks) {
	case ciba.SeverityFailure, ciba.SeverityUnreachable:
		return errFound
	default:
		return nil
	}
}

// printChecks writes a report for people.
func printChecks(out io.Writer, checks []checked) error {
	var b strings.Builder
	for i, c := range checks {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(c.Provider)
		if c.Issuer != c.Provider && c.Issuer != "" {
			b.WriteString(" (" + c.Issuer + ")")
		}
		b.WriteByte('\n')
		for _, f := range c.Findings {
			fmt.Fprintf(&b, "  %-11s  %-15s  %s\n", verdicts[f.Severity], f.Check, f.Detail)
		}
	}
	if len(checks) == 0 {
		b.WriteString("There is no provider to check.\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// verdicts are the severities as a report shows them: what needs somebody's hand is
// in capitals.
var verdicts = map[ciba.Severity]string{
	ciba.SeverityOK:          "ok",
	ciba.SeverityWarning:     "warning",
	ciba.SeverityUnreachable: "UNREACHABLE",
	ciba.SeverityFailure:     "FAILURE",
}
