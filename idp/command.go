package idp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyciba/gateway/caddyciba/store/caddyaudit"
	"github.com/caddyciba/gateway/idp/approval/factor"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ciba-idp",
		Short: "Looks after the customers of a ciba_idp provider",
		Long: `
Adds customers to a ciba_idp provider and looks after what they sign in with. The
commands talk to the admin API of the Caddy that runs, so that they take effect at
once, on all nodes that share its store.

A customer who is added gets a link, and the same as QR code, by which the first
passkey is made. It works once, in one browser, for a day.

audit verify finds out whether an audit log was changed, and needs no running Caddy.
`,
		CobraFunc: func(cmd *cobra.Command) { cmd.AddCommand(userCommand(), caddyaudit.Command()) },
	})
}

// operator is who runs a command: against which Caddy and provider, and where the
// answer goes.
type operator struct {
	address, config, adapter, issuer string
	asJSON                           bool
}

// userCommand is `caddy ciba-idp user` with what is below it.
func userCommand() *cobra.Command {
	o := new(operator)
	cmd := &cobra.Command{Use: "user", Short: "Adds, lists and removes customers, and their ways to sign in"}
	flags := cmd.PersistentFlags()
	flags.StringVar(&o.address, "address", "", "The address of the admin API (default: that of --config, or "+caddy.DefaultAdminListen+")")
	flags.StringVarP(&o.config, "config", "c", "", "The config file that says where the admin API is")
	flags.StringVar(&o.adapter, "adapter", "", "The adapter of the config file")
	flags.StringVar(&o.issuer, "issuer", "", "The provider, if the config has more than one")
	flags.BoolVar(&o.asJSON, "json", false, "Write the answer of the admin API as it is")
	cmd.AddCommand(
		o.addCommand(), o.linkCommand(),
		o.command("list", "Lists the customers who were added", cobra.NoArgs, http.MethodGet, "", o.printList),
		o.command("show NAME", "Shows a customer with what he signs in with", cobra.ExactArgs(1), http.MethodGet, "", o.printUser),
		o.switchCommand("disable", "Locks a customer out", true),
		o.switchCommand("enable", "Lets a customer in again", false),
		o.command("remove NAME", "Removes a customer who was added", cobra.ExactArgs(1), http.MethodDelete, "", nil),
		o.command("forget NAME [FACTOR]", "Removes all that a customer signs in with, or one passkey by its id, or totp", cobra.RangeArgs(1, 2), http.MethodDelete, "factors", nil),
		o.command("sign-out NAME", "Signs a customer out everywhere", cobra.ExactArgs(1), http.MethodDelete, "sessions", nil),
	)
	return cmd
}

// command is a command that is one call of the admin API. Its answer is printed, or
// nothing if there is no print.
func (o *operator) command(use, short string, args cobra.PositionalArgs, method, below string, print func(io.Writer, []byte) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			var path []string
			if len(args) > 0 {
				path = append(path, args[0])
			}
			if below != "" {
				path = append(path, below)
			}
			if len(args) > 1 {
				path = append(path, args[1:]...)
			}
			return o.run(cmd.OutOrStdout(), method, path, nil, print)
		},
	}
}

func (o *operator) switchCommand(name, short string, disabled bool) *cobra.Command {
	return &cobra.Command{
		Use: name + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.OutOrStdout(), http.MethodPatch, args, map[string]bool{"disabled": disabled}, nil)
		},
	}
}

func (o *operator) addCommand() *cobra.Command {
	var user newUser
	var claims []string
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Adds a customer and prints the link by which the first passkey is made", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			user.Username = args[0]
			for _, claim := range claims {
				name, value, ok := strings.Cut(claim, "=")
				if !ok || name == "" {
					return fmt.Errorf("claim %q is not NAME=VALUE", claim)
				}
				if user.Claims == nil {
					user.Claims = make(map[string]any)
				}
				user.Claims[name] = value
			}
			return o.run(cmd.OutOrStdout(), http.MethodPost, nil, user, o.printAdded)
		},
	}
	cmd.Flags().StringVar(&user.Name, "name", "", "The customer's name as people write it")
	cmd.Flags().StringVar(&user.Subject, "subject", "", "The sub claim, which is never given to anybody else (default: NAME)")
	cmd.Flags().StringArrayVar(&claims, "claim", nil, "A claim about the customer, as NAME=VALUE; any number of times")
	cmd.Flags().StringVar(&user.Expires, "expires", "", "How long the link is open, up to 168h (default: 24h)")
	return cmd
}

func (o *operator) linkCommand() *cobra.Command {
	var life linkLife
	cmd := &cobra.Command{
		Use: "link NAME", Short: "Makes another link, for a new device or a customer who has lost everything", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.OutOrStdout(), http.MethodPost, []string{args[0], "link"}, life, o.printLink)
		},
	}
	cmd.Flags().StringVar(&life.Expires, "expires", "", "How long the link is open, up to 168h (default: 24h)")
	return cmd
}

// run makes one call of the admin API and prints its answer.
func (o *operator) run(out io.Writer, method string, path []string, body any, print func(io.Writer, []byte) error) error {
	address, err := caddycmd.DetermineAdminAPIAddress(o.address, nil, o.config, o.adapter)
	if err != nil {
		return fmt.Errorf("finding the admin API: %w", err)
	}
	uri := adminBase
	for _, part := range path {
		uri += "/" + url.PathEscape(part)
	}
	if o.issuer != "" {
		uri += "?" + url.Values{"issuer": {o.issuer}}.Encode()
	}
	var sent io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding the call: %w", err)
		}
		sent = bytes.NewReader(raw)
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, uri, nil, sent)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if o.asJSON {
		_, err = out.Write(answer)
		return err
	}
	if print == nil {
		_, err = fmt.Fprintln(out, "Done.")
		return err
	}
	return print(out, answer)
}

func (o *operator) printAdded(out io.Writer, answer []byte) error {
	var user userInfo
	err := json.Unmarshal(answer, &user)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if user.Link == nil {
		return errors.New("the admin API has answered without a link")
	}
	_, err = fmt.Fprintf(out, "%s was added (subject %s).\n", user.Username, user.Subject)
	if err != nil {
		return err
	}
	return writeLink(out, user.Link)
}

func (o *operator) printLink(out io.Writer, answer []byte) error {
	var link linkInfo
	err := json.Unmarshal(answer, &link)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return writeLink(out, &link)
}

// writeLink prints a link, and the same as QR code.
func writeLink(out io.Writer, link *linkInfo) error {
	code, err := factor.NewQR(link.URL)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `
Hand this to the customer and to nobody else. It works once, in one browser, until
%s:

  %s

%s`, link.Expires.Local().Format(time.RFC1123), link.URL, code.Terminal())
	return err
}

func (o *operator) printList(out io.Writer, answer []byte) error {
	var users []userInfo
	err := json.Unmarshal(answer, &users)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, err = fmt.Fprintln(w, "USERNAME\tSUBJECT\tNAME\tSTATE")
	if err != nil {
		return err
	}
	for _, u := range users {
		_, err = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Username, u.Subject, u.Name, u.state())
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

func (u userInfo) state() string {
	if u.Disabled {
		return "disabled"
	}
	return "enabled"
}

func (o *operator) printUser(out io.Writer, answer []byte) error {
	var u userInfo
	err := json.Unmarshal(answer, &u)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if u.Factors == nil {
		return errors.New("the admin API has answered without factors")
	}
	yes := map[bool]string{true: "yes", false: "no"}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	rows := [][2]string{
		{"Username", u.Username}, {"Subject", u.Subject}, {"Name", u.Name}, {"State", u.state()},
		{"Password", yes[u.Password]}, {"Authenticator app", yes[u.Factors.TOTP]},
		{"Recovery codes", fmt.Sprint(u.Factors.RecoveryCodes)}, {"Sessions", fmt.Sprint(u.Factors.Sessions)},
	}
	if u.Factors.LinkExpires != nil {
		rows = append(rows, [2]string{"Open link until", u.Factors.LinkExpires.Local().Format(time.RFC1123)})
	}
	for _, p := range u.Factors.Passkeys {
		state := "one device"
		switch {
		case p.Blocked:
			state = "BLOCKED, may have been copied"
		case p.Synced:
			state = "synced"
		}
		rows = append(rows, [2]string{"Passkey", fmt.Sprintf("%s  %q, added %s, %s", p.ID, p.Name, p.Added.Format(time.DateOnly), state)})
	}
	for _, row := range rows {
		_, err = fmt.Fprintf(w, "%s:\t%s\n", row[0], row[1])
		if err != nil {
			return err
		}
	}
	return w.Flush()
}
