package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// stops returns the lines that tell of an event by which a turn of a session stops for
// somebody or something.
func stops(session string, e host.StreamEvent) ([]string, error) {
	if e.Type == host.StreamApproval {
		var a host.Approval
		if err := read(e, &a); err != nil {
			return nil, err
		}
		return asks(a), nil
	}
	var s host.Suspension
	err := read(e, &s)
	return suspends(session, s), err
}

// read decodes the data of an event.
func read(e host.StreamEvent, into any) error {
	if err := json.Unmarshal(e.Data, into); err != nil {
		return fmt.Errorf("read an event: %w", err)
	}
	return nil
}

// asks tells of a question for an approval with the commands that answer it, or of what
// came of it.
func asks(a host.Approval) []string {
	if a.Status != host.ApprovalPending {
		return []string{answered(a)}
	}
	return append([]string{fmt.Sprintf("%s asks for approval until %s: %s%s", a.Path, local(a.Expires), asksFor(a.Action, a.Resource), reason(a.Note))},
		answers(a.ID)...)
}

// answers are the commands that answer a question.
func answers(id string) []string {
	return []string{
		"see its arguments: vespiary approvals show " + operand(id),
		"let it be made: vespiary approvals grant " + operand(id),
		"or do not: vespiary approvals deny " + operand(id),
	}
}

// answered says what came of a question.
func answered(a host.Approval) string {
	switch a.Status {
	case host.ApprovalGranted, host.ApprovalDenied:
		return fmt.Sprintf("%s: %s by %s%s", a.Path, a.Status, clean(a.By), reason(a.Reason))
	default:
		return fmt.Sprintf("%s: the approval is %s", a.Path, a.Status)
	}
}

// suspends tells what a turn waits for. Where that is answers alone, each question was
// told already.
func suspends(session string, s host.Suspension) []string {
	if !slices.ContainsFunc(s.Waiting, func(w abi.Wait) bool { return w.Type != abi.EventApproval }) {
		return nil
	}
	return append([]string{fmt.Sprintf("turn %d waits for %s", s.Turn, waitsFor(s.Waiting))}, wakes(session, s.Waiting)...)
}

// wakes are the commands that send a session the signals it waits for. A name that
// cannot be shown as it is cannot be typed.
func wakes(session string, waits []abi.Wait) []string {
	var out []string
	for _, w := range waits {
		if w.Type == abi.EventSignal && w.Name != "" && w.Name == short(w.Name) {
			out = append(out, fmt.Sprintf("send it: vespiary sessions signal %s %s", session, operand(w.Name)))
		}
	}
	return out
}

// operand is an argument as a person has to type it.
func operand(text string) string {
	typed := text
	if strings.Trim(text, safe) != "" {
		typed = "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	if strings.HasPrefix(text, "-") { // or it would be taken for a flag
		return "-- " + typed
	}
	return typed
}

// safe are the characters that no shell makes anything of.
const safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/@%+="

// waitsFor describes what a turn or a session waits for.
func waitsFor(waits []abi.Wait) string {
	if len(waits) == 0 {
		return "the next message"
	}
	var out []string
	for _, w := range waits {
		out = append(out, waitFor(w))
	}
	return strings.Join(out, " or ")
}

func waitFor(w abi.Wait) string {
	what := strings.TrimSpace(string(w.Type) + " " + short(w.Name))
	switch {
	case w.At.IsZero():
		return what
	case w.Type == abi.EventTimer:
		return what + " at " + local(w.At)
	}
	return what + " until " + local(w.At)
}

func local(t time.Time) string { return t.Local().Format(time.DateTime) }
