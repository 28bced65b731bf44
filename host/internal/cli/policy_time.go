package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

func (r *runner) policyExplainCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain DECISION",
		Short: "Print why a decision is what it is, and what would have to be true for another one",
		Long: `Print why a decision is what it is: which policies decided, by which of their
conditions, and what would have to be true for another answer. DECISION is the id of
a record, as vespiary audit search lists them.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd.Context(), r, "explain "+args[0], func(t TimeMachine) error {
				e, err := t.Explain(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return r.show(asJSON, e, func() {
					r.out.linef("%s  %s  %s: %s", local(e.Record.Time), actors(e.Record), asked(e.Record), came(e.Record))
					r.out.linef("%s", strings.TrimRight(clean(e.Text), "\n"))
				})
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// lookBack is how far a simulation goes back where nothing else is said.
const lookBack = "7d"

func (r *runner) policySimulateCommand() *cobra.Command {
	var since moment
	var set string
	var most int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Decide again by other policies what was decided, and list what would change",
		Args: func(cmd *cobra.Command, args []string) error {
			if set == "" {
				return errors.New("simulate: --set is missing; name the folder of the other policies")
			}
			return arguments(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := readPolicies(set)
			if err != nil {
				return fmt.Errorf("simulate policies: %w", err)
			}
			from := since.time(r.app.Now())
			return with(cmd.Context(), r, "simulate "+set, func(t TimeMachine) error {
				s, err := t.Simulate(cmd.Context(), files, from)
				if err != nil {
					return err
				}
				if asJSON {
					return r.json(s)
				}
				return r.simulation(set, from, s, most)
			})
		},
	}
	_ = since.Set(lookBack)
	cmd.Flags().StringVar(&set, "set", "", "the folder of the other policies")
	cmd.Flags().Var(&since, "since", "what was decided since then")
	cmd.Flags().IntVar(&most, "limit", 20, "how many changes to list, the newest")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// simulation sums up what would change, and lists the newest changes.
func (r *runner) simulation(set string, since time.Time, s host.Simulation, most int) error {
	r.out.linef("by %s (%s), of %s since %s:", set, shortDigest(s.Set), count(s.Decided, "decision", "decisions"), local(since))
	if len(s.Changes) == 0 {
		r.out.linef("  none would change")
	}
	for _, line := range changes(s.Changes) {
		r.out.linef("  %s", line)
	}
	if s.More > 0 {
		r.out.linef("  %d more would change, which are not told apart", s.More)
	}
	if s.Skipped > 0 {
		r.out.linef("  %d cannot be decided again: what they were about is not on record any more", s.Skipped)
	}
	if len(s.Changes) == 0 || most <= 0 {
		return nil
	}
	r.out.linef("")
	return r.changeTable(s.Changes[max(0, len(s.Changes)-most):])
}

// changes counts what would change to what.
func changes(list []host.SimulatedChange) []string {
	counts := map[string]int{}
	for _, c := range list {
		counts[fmt.Sprintf("would be %s instead of %s", answerOf(c.Is), answerOf(decided(c.Record)))]++
	}
	var out []string
	for _, change := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%d %s", counts[change], change))
	}
	return out
}

func (r *runner) changeTable(list []host.SimulatedChange) error {
	w := tabwriter.NewWriter(r.out.w, 0, 0, 2, ' ', 0)
	table := printer{w}
	table.linef("DECISION\tTIME\tWHO\tASKS FOR\tWAS\tWOULD BE")
	for _, c := range list {
		table.linef("%s\t%s\t%s\t%s\t%s\t%s", clean(c.Record.ID), local(c.Record.Time), actors(c.Record), asked(c.Record),
			decisionText(decided(c.Record)), decisionText(c.Is))
	}
	return w.Flush()
}

// decided is the decision of a record, a denial where it has none.
func decided(r policy.Record) policy.Decision {
	if r.Decision == nil {
		return policy.Decision{}
	}
	return *r.Decision
}

// answerOf is what a decision comes to, in a word or two.
func answerOf(d policy.Decision) string {
	switch {
	case d.Allowed:
		return "allowed"
	case len(d.Errors) > 0:
		return "denied for an error"
	case d.Approval != "":
		return "left to a person"
	}
	return "denied"
}
