package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// tokenVariable is where a program's token of its task may stand.
const tokenVariable = "VESPIARY_TASK_TOKEN" //nolint:gosec // the name of a variable, not what is in it

func (r *runner) tasksOpenCommand() *cobra.Command {
	var task taskFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "open AGENT",
		Short: "Open a task for an agent that is a program elsewhere, and print its token",
		Long: `Open a task for an agent that is a program elsewhere, and print the token by which
the program calls in it: the only time that it is shown. Whoever has the token may do
what the task may, until the task is over.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // idle connections
			body := task.body()
			body.Agent = args[0]
			o, err := c.OpenTask(cmd.Context(), body)
			if err != nil {
				return while("open a task for "+args[0], err)
			}
			return r.show(asJSON, o, func() {
				r.err.linef("vespiary: task %s of agent %s, expires %s; its token follows, and is not shown again", o.Task.ID, o.Task.Agent, expiry(o.Task.Expires))
				r.err.linef("vespiary: call in it: %s=TOKEN vespiary tasks call %s tool_list", tokenVariable, o.Task.ID)
				r.out.linef("%s", o.Token)
			})
		},
	}
	task.flags(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func tokenFlag(cmd *cobra.Command, token *string) {
	cmd.Flags().StringVar(token, "token", "", "the token of the task; else it is read from "+tokenVariable)
}

func (r *runner) tasksCallCommand() *cobra.Command {
	var token, id string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "call TASK NAME [JSON]",
		Short: "Make a host call in a task, as a program elsewhere does",
		Long: `Make a host call in a task, as a program elsewhere does: NAME is that of a host call,
such as tool_call, and JSON its request; - reads it from standard input. What the
call returns is printed. Others see the token in --token, so set ` + tokenVariable + `.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := arguments(cmd, args); err != nil {
				return err
			}
			if cmp.Or(token, os.Getenv(tokenVariable)) == "" {
				return fmt.Errorf("call: the task's token is missing; set %s, or give --token", tokenVariable)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := r.request(args[2:])
			if err != nil {
				return fmt.Errorf("call %s: %w", args[1], err)
			}
			c, err := r.holder(cmd.Context(), token)
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // idle connections
			result, err := c.CallTask(cmd.Context(), args[0], host.TaskCall{ID: id, Name: args[1], Request: request})
			if err != nil {
				return while("call "+args[1], err)
			}
			return r.result(args[1], result, asJSON)
		},
	}
	tokenFlag(cmd, &token)
	cmd.Flags().StringVar(&id, "id", "", "a name of your own for the call: given again, what it returned is printed again")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// holder returns a client that holds the token of a task. Without one it is that of this
// machine's user.
func (r *runner) holder(ctx context.Context, token string) (*client, error) {
	c, err := r.connect(ctx)
	if err == nil {
		c.key = cmp.Or(token, os.Getenv(tokenVariable), c.key)
	}
	return c, err
}

// request reads the request of a call, an empty object where none is given.
func (r *runner) request(args []string) (json.RawMessage, error) {
	if len(args) == 0 {
		return json.RawMessage("{}"), nil
	}
	request := []byte(args[0])
	if args[0] == "-" {
		var err error
		if request, err = io.ReadAll(io.LimitReader(r.in, host.MaxPayload)); err != nil {
			return nil, err
		}
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(request, &object) != nil || object == nil {
		return nil, errors.New(`the request is no JSON object; write one such as '{"path": "docs/a.md"}'`)
	}
	return request, nil
}

// result prints what a call returned. That it failed is the command's failure.
func (r *runner) result(name string, result abi.Result, asJSON bool) error {
	if asJSON {
		if err := r.json(result); err != nil {
			return err
		}
	}
	switch {
	case result.Error != nil && asJSON:
		return errFailed
	case result.Error != nil:
		return fmt.Errorf("call %s: %s", name, clean(result.Error.Error()))
	case asJSON:
		return nil
	}
	return r.json(result.OK)
}

// ends are the words for how a task ends.
var ends = []string{string(host.TaskCompleted), string(host.TaskCancelled)}

func (r *runner) tasksEndCommand() *cobra.Command {
	var token, result string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "end TASK completed|cancelled",
		Short: "End a task: nothing works any more that it gave a right to",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := arguments(cmd, args); err != nil {
				return err
			}
			if !slices.Contains(ends, args[1]) {
				return fmt.Errorf("end: %q is no end of a task; use %s", args[1], strings.Join(ends, " or "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			end := func(d Tasks) error {
				var content []abi.Content
				if result != "" {
					content = []abi.Content{abi.Text(result)}
				}
				t, err := d.EndTask(cmd.Context(), args[0], host.TaskState(args[1]), content)
				if err != nil {
					return err
				}
				return r.show(asJSON, t, func() { r.out.linef("task %s of agent %s is %s", t.ID, t.Agent, t.State) })
			}
			doing := "end task " + args[0]
			if cmp.Or(token, os.Getenv(tokenVariable)) == "" {
				return with(cmd.Context(), r, doing, end)
			}
			c, err := r.holder(cmd.Context(), token)
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // idle connections
			if err := end(c); err != nil {
				return while(doing, err)
			}
			return nil
		},
	}
	tokenFlag(cmd, &token)
	cmd.Flags().StringVar(&result, "result", "", "what the agent says to its user")
	jsonFlag(cmd, &asJSON)
	return cmd
}
