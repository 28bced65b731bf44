package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// maxInput bounds a message read from standard input, in bytes.
const maxInput = 4 << 20

func (r *runner) invokeCommand() *cobra.Command {
	var session string
	var task taskFlags
	var stream, asJSON bool
	cmd := &cobra.Command{
		Use:   "invoke AGENT TEXT",
		Short: "Send an agent a message and print its answer",
		Long: `Send an agent a message and print its answer. TEXT - is read from standard input.
Denied calls, and what the turn waits for, are told of on standard error. The
command may be stopped: the turn goes on.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := r.message(args[1])
			if err != nil {
				return err
			}
			v := &turnView{runner: r, stream: stream, json: asJSON}
			m := message{Content: text, Session: session, Task: task.body()}
			for e, err := range r.send(cmd.Context(), args[0], m) {
				if err != nil {
					return fmt.Errorf("invoke %s: %w", args[0], err)
				}
				if err := v.show(e); err != nil {
					return err
				}
			}
			return v.end()
		},
	}
	cmd.Flags().StringVar(&session, "session", "", "go on with this session instead of opening one")
	task.flags(cmd)
	cmd.Flags().BoolVar(&stream, "stream", false, "print the answer as it is written")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the turn as JSON; with --stream each event, one a line")
	return cmd
}

func (r *runner) message(arg string) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	b, err := io.ReadAll(io.LimitReader(r.in, maxInput+1))
	if err == nil && len(b) > maxInput {
		err = fmt.Errorf("it is larger than %d bytes; write it to a file of a mounted folder", maxInput)
	}
	if err != nil {
		return "", fmt.Errorf("read the message: %w", err)
	}
	return string(b), nil
}

// turnView shows a turn as its events come.
type turnView struct {
	*runner
	stream, json bool
	shown        strings.Builder // the text of the answer so far
	turn         host.Turn
}

func (v *turnView) show(e host.StreamEvent) error {
	if v.json && v.stream {
		b, err := json.Marshal(e)
		v.out.linef("%s", b)
		return errors.Join(err, v.note(e))
	}
	switch e.Type {
	case host.StreamDelta:
		var d abi.Emit
		if err := read(e, &d); err != nil {
			return err
		}
		v.delta(clean(abi.TextOf(d.Content)))
		return nil
	case host.StreamReset:
		if v.stream && v.shown.Len() > 0 {
			v.out.text("\n")
			v.err.linef("vespiary: the host was interrupted; the answer begins again")
		}
		v.shown.Reset()
		return nil
	}
	return v.note(e)
}

func (v *turnView) delta(text string) {
	v.shown.WriteString(text)
	if v.stream {
		v.out.text(text)
	}
}

// note takes in what is not content: denials, what the turn waits for and its end.
func (v *turnView) note(e host.StreamEvent) error {
	switch e.Type {
	case host.StreamAccepted, host.StreamStart, host.StreamEnd:
		var t host.Turn
		if err := read(e, &t); err != nil {
			return err
		}
		v.turn = t
	case host.StreamApproval, host.StreamWaiting:
		lines, err := stops(v.turn.Session, e)
		v.tell(lines)
		return err
	case host.StreamCall:
		var c host.CallView
		if err := read(e, &c); err != nil {
			return err
		}
		if !c.Decision.Allowed {
			v.err.linef("vespiary: %s", callLine(c))
		}
	case host.StreamParked:
		var p host.Parked
		if err := read(e, &p); err != nil {
			return err
		}
		return fmt.Errorf("the session is parked until a person looks: %s", clean(p.Reason))
	}
	return nil
}

// tell says what is no part of the answer.
func (v *turnView) tell(lines []string) {
	for _, line := range lines {
		v.err.linef("vespiary: %s", line)
	}
}

// end prints what the events have not, and makes the turn's status the command's.
func (v *turnView) end() error {
	switch {
	case v.json && v.stream:
	case v.json:
		b, err := json.MarshalIndent(v.turn, "", "  ")
		if err != nil {
			return err
		}
		v.out.linef("%s", b)
	default:
		v.answer()
	}
	switch t := v.turn; {
	case t.Status == host.TurnWaiting:
		v.tell(append([]string{fmt.Sprintf("session %s waits for %s", t.Session, waitsFor(t.Waiting))}, wakes(t.Session, t.Waiting)...))
	case t.Status != host.TurnDone && t.Error != nil:
		return fmt.Errorf("turn %d of session %s %s: %s", t.Number, t.Session, t.Status, clean(t.Error.Error()))
	case t.Status != host.TurnDone:
		return fmt.Errorf("turn %d of session %s: %s", t.Number, t.Session, t.Status)
	}
	return nil
}

// answer prints the reply. An agent that streams repeats in its reply what it has
// streamed.
func (v *turnView) answer() {
	reply, shown := clean(abi.TextOf(v.turn.Content)), v.shown.String()
	repeated := reply == "" || strings.HasSuffix(strings.TrimSpace(shown), strings.TrimSpace(reply))
	if v.stream && shown != "" && !strings.HasSuffix(shown, "\n") {
		v.out.text("\n")
	}
	switch {
	case !v.stream && reply == "":
		reply = shown
	case v.stream && repeated:
		return
	}
	if reply != "" {
		v.out.linef("%s", strings.TrimRight(reply, "\n"))
	}
}
