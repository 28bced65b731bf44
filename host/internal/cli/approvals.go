package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

func (r *runner) approvalsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "approvals",
		Short: "List, show and answer the calls that wait for a person",
		Args:  arguments,
		RunE:  help,
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w; write -- before an APPROVAL that begins with -", err) // one of 64 does
	})
	cmd.AddCommand(r.approvalsListCommand(), r.approvalsShowCommand(), r.approvalsAnswerCommand(true), r.approvalsAnswerCommand(false))
	return cmd
}

func (r *runner) approvalsListCommand() *cobra.Command {
	var f host.ApprovalFilter
	var status string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List approvals, the newest first",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.Status = host.ApprovalStatus(status)
			return r.durable(cmd.Context(), "list approvals", func(d Durable) error {
				list, err := d.Approvals(cmd.Context(), f)
				if err != nil {
					return err
				}
				if asJSON {
					return r.json(list)
				}
				return r.approvalTable(list)
			})
		},
	}
	cmd.Flags().StringVar(&f.Session, "session", "", "only those of this session")
	cmd.Flags().StringVar(&status, "status", string(host.ApprovalPending), "only those that are pending, granted, denied, expired or void")
	cmd.Flags().IntVar(&f.Limit, "limit", 20, "how many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

func (r *runner) approvalTable(list []host.Approval) error {
	w := tabwriter.NewWriter(r.out.w, 0, 0, 2, ' ', 0)
	table := printer{w}
	table.linef("APPROVAL\tSTATUS\tAGENT\tSESSION\tUSER\tASKS FOR\tEXPIRES")
	pending := false
	for _, a := range list {
		pending = pending || a.Status == host.ApprovalPending
		table.linef("%s\t%s\t%s\t%s\t%s\t%s\t%s", a.ID, a.Status, a.Agent, a.Session, clean(a.User),
			asksFor(a.Action, a.Resource), a.Expires.Local().Format(time.DateTime))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if pending {
		r.err.linef("vespiary: look at one with vespiary approvals show APPROVAL, and answer it with vespiary approvals grant or deny")
	}
	return nil
}

// asksFor describes what a call is about.
func asksFor(action string, resource policy.UID) string {
	return clean(fmt.Sprintf("%s on %s %q", action, resource.Type, resource.ID))
}

func (r *runner) approvalsShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show APPROVAL",
		Short: "Print what is asked for, with the arguments of the call",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.durable(cmd.Context(), "show approval "+args[0], func(d Durable) error {
				a, err := d.Approval(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return r.show(asJSON, a, func() { r.approval(a) })
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// approval shows all that a person needs to answer. The answer is bound to exactly
// this.
func (r *runner) approval(a host.Approval) {
	r.out.linef("approval %s: %s", a.ID, a.Status)
	r.out.linef("agent    %s, for user %s, in turn %d of session %s", a.Agent, clean(a.User), a.Turn, a.Session)
	r.out.linef("call     %s %s: %s", a.Path, a.Call, asksFor(a.Action, a.Resource))
	if a.Note != "" {
		r.out.linef("because  %s", short(a.Note))
	}
	r.out.linef("asked    %s, expires %s", a.Asked.Local().Format(time.DateTime), a.Expires.Local().Format(time.DateTime))
	if !a.Answered.IsZero() {
		r.out.linef("answered %s by %s%s", a.Answered.Local().Format(time.DateTime), clean(a.By), reason(a.Reason))
	}
	var pretty bytes.Buffer
	if len(a.Request) > 0 && json.Indent(&pretty, a.Request, "", "  ") == nil {
		r.out.linef("\n%s", clean(pretty.String()))
	}
	if a.Status == host.ApprovalPending {
		r.out.linef("\nlet it be made: vespiary approvals grant %s", operand(a.ID))
		r.out.linef("or do not: vespiary approvals deny %s", operand(a.ID))
	}
}

// reason is what follows an act for which a person may have given one.
func reason(text string) string {
	if text == "" {
		return ""
	}
	return ": " + short(text)
}

func (r *runner) approvalsAnswerCommand(grant bool) *cobra.Command {
	answer := host.Answer{Grant: grant}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "deny APPROVAL",
		Short: "Do not let a call be made, and tell the agent",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.durable(cmd.Context(), cmd.Name()+" "+args[0], func(d Durable) error {
				a, err := d.Answer(cmd.Context(), args[0], answer)
				if err != nil {
					return err
				}
				return r.show(asJSON, a, func() {
					r.out.linef("%s: call %s of session %s, %s", a.Status, a.Path, a.Session, asksFor(a.Action, a.Resource))
				})
			})
		},
	}
	if grant {
		cmd.Use, cmd.Short = "grant APPROVAL", "Let a call be made, once and exactly as it was asked for"
	}
	cmd.Flags().StringVar(&answer.Reason, "reason", "", "why, for the record and for the agent")
	jsonFlag(cmd, &asJSON)
	return cmd
}
