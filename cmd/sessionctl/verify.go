package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/internal/cli"
	"github.com/starling-swarm/starling/internal/fault"
)

type verifyDoc struct {
	AccountID    string `json:"account_id"`
	SafetyNumber string `json:"safety_number"`
	Theirs       string `json:"their_chain"`
	Mine         string `json:"my_chain"`
	Since        millis `json:"since"`
	Recovered    bool   `json:"recovered"`
	Contested    bool   `json:"contested"`
	Verified     bool   `json:"verified"`
}

func (a *app) contactVerifyCommand() *cobra.Command {
	var number string
	var undo bool
	cmd := &cobra.Command{
		Use:   "verify PEER [--number DIGITS]",
		Short: "Compare safety numbers with somebody, and remember that they are equal",
		Long: `verify shows the number that both of you must see, in person or by a call where you know the voice. If they are equal
nobody sits between you. The number stays the same whatever devices come and go.

While the other side is contested, the number of its chain is compared instead: yours is what your own "contact verify"
shows them. --number compares for you; -y says that you have compared.`,
		Example: `  sessionctl contact verify bob
  sessionctl contact verify bob --number "12345 67890 ..."`,
		Args:              exactly("PEER"),
		ValidArgsFunction: a.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.fresh(cmd, false)
			if err != nil {
				return err
			}
			ctx, cancel := a.deadline(cmd, defaultTimeout)
			defer cancel()
			id, err := a.account(ctx, c, args[0])
			if err != nil {
				return err
			}
			s, err := c.Safety(ctx, id)
			if err != nil {
				return a.unreachable("contact verify", err)
			}
			yes := a.flags.yes || number != ""
			if !a.flags.json {
				writeSafety(a.stdout, styleFor(a.stdout), s, args[0])
				if !yes && !undo && !s.Verified && isTerminal(a.stdin) && !a.flags.noInput {
					yes = a.agree("Do they see the same number?") == nil
				}
			}
			switch {
			case undo:
				_, err = c.UnverifyContact(id)
				s.Verified = false
			case yes:
				_, err = c.VerifyContact(ctx, id, number)
				s.Verified, s.Contested = err == nil, s.Contested && err != nil
			}
			if errors.Is(err, fault.Denied) {
				return cli.Fail("contact verify: the numbers differ", err,
					"write nothing to "+printable(args[0])+" that only they may read, and meet them")
			}
			if err != nil {
				return a.unreachable("contact verify", err)
			}
			doc := verifyDoc{id.String(), s.Number, s.Theirs, s.Mine, millis(s.Since), s.Recovered, s.Contested, s.Verified}
			err = a.answer("contact.verify", doc, func(w io.Writer, st style) {
				if s.Verified {
					fmt.Fprintf(w, "%s %s is verified\n", st.green("✓"), printable(args[0]))
				}
			})
			a.linger(cmd.Context(), c)
			return err
		},
	}
	cmd.Flags().StringVar(&number, "number", "", "the `DIGITS` that the other side shows")
	cmd.Flags().BoolVar(&undo, "undo", false, "take the mark back")
	return cmd
}

// writeSafety shows what to compare.
func writeSafety(w io.Writer, st style, s client.Safety, who string) {
	if s.Contested {
		fmt.Fprintf(w, "%s\n", st.red("One of "+printable(who)+"'s devices says that somebody else has restored the account."))
		fmt.Fprintf(w, "Compare this with what their device shows as its own number:\n\n  %s\n", st.bold(s.Theirs))
	} else {
		writeQR(w, strings.ReplaceAll(s.Number, " ", ""))
		groups := strings.Fields(s.Number)
		for i := 0; i < len(groups); i += 4 {
			fmt.Fprintf(w, "  %s\n", st.bold(strings.Join(groups[i:i+4], " ")))
		}
	}
	fmt.Fprintf(w, "\nown number, if this account is contested: %s\n", s.Mine)
	if s.Recovered {
		fmt.Fprintf(w, "%s\n", st.yellow("restored from the recovery phrase on "+s.Since.Local().Format("2006-01-02")))
		return
	}
	fmt.Fprintf(w, "no recovery since %s\n", s.Since.Local().Format("2006-01-02"))
}

// agree asks before something that others notice. Without a terminal, or with --yes, the verb itself is the answer.
func (a *app) agree(question string) error {
	if a.flags.yes || a.flags.json || a.flags.noInput || !isTerminal(a.stdin) {
		return nil
	}
	fmt.Fprint(a.stderr, question+" [y/N] ")
	lines := bufio.NewScanner(a.stdin)
	if lines.Scan() {
		switch strings.ToLower(strings.TrimSpace(lines.Text())) {
		case "y", "yes":
			return nil
		}
	}
	return &cli.Error{What: "not done", Cause: fault.New(fault.Invalid, "agree", "you did not say yes"), Exit: cli.ExitCancelled}
}
