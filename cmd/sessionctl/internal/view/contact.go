package view

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/starling-swarm/starling/client"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/refs"
	"github.com/starling-swarm/starling/cmd/sessionctl/internal/render"
)

// WriteContacts lists contacts.
func WriteContacts(w io.Writer, contacts []client.Contact) {
	if len(contacts) == 0 {
		fmt.Fprintln(w, "no contacts yet")
		return
	}
	t := render.NewTable("NAME", "THEIR NAME", "STATUS", "ACCOUNT")
	for _, p := range contacts {
		var status []string
		if !p.Approved && !p.Blocked {
			status = append(status, "request")
		}
		if p.Blocked {
			status = append(status, "blocked")
		}
		if p.Verified {
			status = append(status, "verified")
		}
		if p.Contested {
			status = append(status, "not written to")
		}
		if n := len(p.Events); n > 0 {
			status = append(status, p.Events[n-1].Kind+" "+p.Events[n-1].At.Local().Format("2006-01-02"))
		}
		if status == nil {
			status = []string{"contact"}
		}
		t.Row(refs.ContactName(p), p.Name, strings.Join(status, ", "), p.ID.String())
	}
	t.Write(w)
}

// WriteRequests lists people who wrote and are no contacts.
func WriteRequests(w io.Writer, requests []client.Request, now time.Time) {
	if len(requests) == 0 {
		fmt.Fprintln(w, "no requests")
		return
	}
	t := render.NewTable("NAME", "MESSAGES", "LAST", "", "ACCOUNT")
	for _, r := range requests {
		t.Row(r.Contact.Name, fmt.Sprint(r.Messages), render.Ago(r.Last.ReceivedAt, now),
			render.Shorten(strings.ReplaceAll(r.Last.Text, "\n", " "), 40), r.Contact.ID.String())
	}
	t.Write(w)
}

// WriteSafety shows what to compare.
func WriteSafety(w io.Writer, st render.Style, s client.Safety, who string) {
	if s.Contested {
		fmt.Fprintf(w, "%s\n", st.Red("One of "+render.Printable(who)+
			"'s devices says that somebody else has restored the account."))
		fmt.Fprintf(w, "Compare this with what their device shows as its own number:\n\n  %s\n",
			st.Bold(s.Theirs))
	} else {
		render.WriteQR(w, strings.ReplaceAll(s.Number, " ", ""))
		groups := strings.Fields(s.Number)
		for i := 0; i < len(groups); i += 4 {
			fmt.Fprintf(w, "  %s\n", st.Bold(strings.Join(groups[i:i+4], " ")))
		}
	}
	fmt.Fprintf(w, "\nown number, if this account is contested: %s\n", s.Mine)
	if s.Recovered {
		fmt.Fprintf(w, "%s\n", st.Yellow("restored from the recovery phrase on "+
			s.Since.Local().Format("2006-01-02")))
		return
	}
	fmt.Fprintf(w, "no recovery since %s\n", s.Since.Local().Format("2006-01-02"))
}
