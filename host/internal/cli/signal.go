package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
)

func (r *runner) sessionsSignalCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "signal SESSION NAME [JSON|-]",
		Short: "Send a session the signal that its agent waits for",
		Long: `Send a session a signal. An agent that waits for its name gets it, with the JSON
that is given; else it becomes a turn of its own. JSON - is read from standard
input.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := r.document(args[2:])
			if err != nil {
				return err
			}
			return r.durable(cmd.Context(), "signal session "+args[0], func(d Durable) error {
				t, err := d.Signal(cmd.Context(), args[0], args[1], data)
				if err != nil {
					return err
				}
				return r.show(asJSON, t, func() {
					r.out.linef("accepted as turn %d of session %s", t.Number, t.Session)
					r.out.linef("see what comes of it: vespiary sessions show %s", t.Session)
				})
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// document reads the JSON that a signal carries, if there is any.
func (r *runner) document(args []string) (json.RawMessage, error) {
	if len(args) == 0 {
		return nil, nil
	}
	text, err := r.message(args[0])
	if err != nil {
		return nil, err
	}
	if !json.Valid([]byte(text)) {
		return nil, fmt.Errorf("read the JSON of the signal: %q is none; a text needs quotes of its own: '\"yes\"'", short(text))
	}
	return json.RawMessage(text), nil
}

func (r *runner) sessionsResumeCommand() *cobra.Command {
	var note string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "resume SESSION",
		Short: "Let a parked session go on",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.durable(cmd.Context(), "resume session "+args[0], func(d Durable) error {
				s, err := d.Unpark(cmd.Context(), args[0], note)
				if err != nil {
					return err
				}
				return r.show(asJSON, s, func() { r.resumed(s) })
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "why it may, for the record")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) resumed(s host.Session) {
	if open := s.Turns - s.Ended; open > 0 {
		r.out.linef("session %s goes on with %s", s.ID, turns(s.Ended+1, s.Turns))
		return
	}
	r.out.linef("session %s is %s", s.ID, s.Status)
	r.goOn(s)
}
