package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
)

// suggestedFile is where suggestions are added, in the policies' folder.
const suggestedFile = "suggested.cedar"

// maxDecisions is how many denials a suggestion looks back on.
const maxDecisions = 200

// suggestion is what is asked of a suggestion.
type suggestion struct {
	agent       string
	since       moment
	last, write bool
	json        bool
}

func (r *runner) policySuggestCommand() *cobra.Command {
	var o suggestion
	cmd := &cobra.Command{
		Use:   "suggest",
		Short: "Print the narrowest policies that would have allowed what was denied",
		Long: `Print the narrowest policies that would have allowed what was denied lately. Read
them: they permit what was asked for, not what is right.

With --agent, print instead all that an agent needs for what it was allowed to do:
policies that take the place of every other permit for it.`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.agent != "" && (o.last || o.write):
				return errors.New("suggest: --agent is for what was allowed, and takes the place of other policies: leave out --last and --write")
			case o.agent == "" && o.since.text != "":
				return errors.New("suggest: --since is for --agent; name an agent too")
			}
			return arguments(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.agent != "" {
				return r.tightest(cmd.Context(), o)
			}
			return r.suggest(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.agent, "agent", "", "all that this agent needs for what it was allowed")
	cmd.Flags().Var(&o.since, "since", "with --agent: only for what it was allowed since then, such as 7d")
	cmd.Flags().BoolVar(&o.last, "last", false, "only for the last turn in which something was denied")
	cmd.Flags().BoolVar(&o.write, "write", false, "add them to "+suggestedFile+" in the policies' folder")
	jsonFlag(cmd, &o.json)
	return cmd
}

func (r *runner) tightest(ctx context.Context, o suggestion) error {
	return with(ctx, r, "suggest policies", func(t TimeMachine) error {
		s, err := t.Tightest(ctx, o.agent, o.since.time(r.app.Now()))
		if err != nil {
			return err
		}
		return r.show(o.json, s, func() { r.suggested(s) })
	})
}

// suggested prints the policies, and beside them what they do not solve.
func (r *runner) suggested(s host.Suggestion) {
	for _, note := range s.Notes {
		r.err.linef("vespiary: %s", clean(note))
	}
	r.out.text(clean(s.Policies))
}

func (r *runner) suggest(ctx context.Context, o suggestion) error {
	denied, cfg, err := r.denied(ctx, o.last)
	if err != nil {
		return fmt.Errorf("suggest policies: %w", err)
	}
	var files []host.PolicyFile
	var s host.Suggestion
	if len(denied) > 0 {
		if files, err = configured(cfg); err == nil {
			s, err = r.app.Suggest(ctx, cfg, files, denied)
		}
		if err != nil {
			return fmt.Errorf("suggest policies: %w", err)
		}
	} else {
		r.err.linef("vespiary: nothing was denied")
	}
	if err := r.show(o.json, s, func() { r.suggested(s) }); err != nil || s.Policies == "" || !o.write {
		return err
	}
	return r.addPolicies(ctx, cfg, files, s.Policies)
}

// denied returns denials, the newest first; with last, those of the newest one's
// turn.
func (r *runner) denied(ctx context.Context, last bool) ([]host.DecisionRecord, *config.Config, error) {
	s, cfg, err := r.service(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer s.Close() //nolint:errcheck // only read from
	list, err := s.Decisions(ctx, true, maxDecisions)
	if err != nil || !last {
		return list, cfg, err
	}
	for i, d := range list {
		if d.Session != list[0].Session || d.Turn != list[0].Turn {
			return list[:i], cfg, nil
		}
	}
	return list, cfg, nil
}

// addPolicies adds text to the file of suggestions, if the policies are valid with it. A
// running host reads them at once.
func (r *runner) addPolicies(ctx context.Context, cfg *config.Config, files []host.PolicyFile, text string) error {
	f := host.PolicyFile{Name: suggestedFile, Text: text}
	if old := textOf(files, suggestedFile); old != "" {
		f.Text = old + "\n" + text
	}
	if _, err := r.app.CheckPolicies(ctx, cfg, replaced(files, f)); err != nil {
		return fmt.Errorf("add the policies: they do not fit those in %s: %w", cfg.Policies, err)
	}
	path := filepath.Join(cfg.Policies, suggestedFile)
	if err := writeWhole(path, []byte(f.Text)); err != nil {
		return fmt.Errorf("add the policies: %w", err)
	}
	r.err.linef("vespiary: added to %s", path)
	return r.reload(ctx, cfg)
}

// reload makes the running host, if there is one, read its configuration again.
func (r *runner) reload(ctx context.Context, cfg *config.Config) error {
	c, err := reach(ctx, cfg)
	if err != nil || c == nil {
		return err
	}
	defer c.Close() //nolint:errcheck // idle connections
	return c.Reload(ctx)
}
