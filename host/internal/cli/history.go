package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// journalPage is how many records are asked for at a time.
const journalPage = 500

// historyView shows a session's journal.
type historyView struct {
	*runner
	out       printer // of the runner, counted by shown
	shown     *tally
	asJSON    bool
	left      bool // the last host left a turn in good order
	restarted int  // lines shown when a restart was, -1 for none
}

func newHistoryView(r *runner, asJSON bool) *historyView {
	t := &tally{w: r.out.w}
	return &historyView{runner: r, out: printer{t}, shown: t, asJSON: asJSON, restarted: -1}
}

func (v *historyView) head(s host.Session) {
	if v.asJSON {
		return
	}
	v.out.linef("session %s of agent %s: %s, %s, opened %s", s.ID, s.Agent, s.Status, count(s.Turns, "turn", "turns"), s.Created.Local().Format(time.DateTime))
	v.out.linef("module %s", s.Module)
	switch {
	case s.Parent != "" && s.At > 0:
		v.out.linef("forked from session %s after entry %d", s.Parent, s.At)
	case s.Parent != "":
		v.out.linef("imported from the file %s", shortDigest(s.Parent))
	}
	if text := why(s); text != "" {
		v.out.linef("%s: %s", s.Status, clean(text))
	}
	if !s.Expires.IsZero() {
		v.out.linef("the time of its task is up at %s", local(s.Expires))
	}
	for _, line := range remedies(s) {
		v.out.linef("%s", line)
	}
}

// shortDigest is as much of a digest as tells it from others.
func shortDigest(digest string) string {
	const enough = 12
	name, hex, ok := strings.Cut(clean(digest), ":")
	if !ok || len(hex) <= enough {
		return clean(digest)
	}
	return name + ":" + hex[:enough] + "…"
}

func (v *historyView) journal(ctx context.Context, s Service, id string) error {
	for from := uint64(1); ; {
		records, err := s.Journal(ctx, id, from, journalPage)
		if err != nil {
			return fmt.Errorf("show session %s: %w", id, err)
		}
		for _, rec := range records {
			if err := v.record(rec); err != nil {
				return fmt.Errorf("show record %d of session %s: %w", rec.Seq, id, err)
			}
			from = rec.Seq + 1
		}
		if len(records) < journalPage {
			v.rest()
			return nil
		}
	}
}

func (v *historyView) record(rec host.Record) error {
	if v.asJSON {
		b, err := json.Marshal(rec)
		v.out.linef("%s", b)
		return err
	}
	switch rec.Kind {
	case host.EntryAccepted:
		return v.accepted(rec)
	case host.EntryIntent:
		return v.intent(rec)
	case host.EntryResult, host.EntryUnknown:
		return v.outcome(rec)
	case host.EntryEnd, host.EntryAbort:
		return v.ended(rec)
	case host.EntryPark:
		var p host.Parked
		return v.body(rec, &p, func() { v.out.linef("parked: %s", clean(p.Reason)) })
	case host.EntryCancel:
		v.out.linef("cancelled")
	case host.EntryFence:
		return v.fence(rec)
	default:
		return v.event(rec)
	}
	return nil
}

// fence shows a restart. A host that stops in good order says so, and so does the
// next one: that is one restart, as is whatever follows before anything else is
// shown.
func (v *historyView) fence(rec host.Record) error {
	var f host.Fence
	return v.body(rec, &f, func() {
		v.left = f.Clean
		if f.Clean || v.restarted == v.shown.lines {
			return
		}
		v.out.linef("the host was restarted")
		v.restarted = v.shown.lines
	})
}

// rest says what the last record leaves open.
func (v *historyView) rest() {
	if v.left && !v.asJSON {
		v.out.linef("the host was stopped; the turn goes on when it runs again")
	}
}

// tally counts the lines that are written through it.
type tally struct {
	w     io.Writer
	lines int
}

// Write implements io.Writer.
func (t *tally) Write(b []byte) (int, error) {
	t.lines += bytes.Count(b, []byte("\n"))
	return t.w.Write(b)
}

func (v *historyView) accepted(rec host.Record) error {
	var e abi.Event
	if rec.Payload == nil {
		v.out.linef("\nturn %d, %s\n  > (erased)", rec.Turn, rec.Time.Local().Format(time.DateTime))
		return nil
	}
	if err := json.Unmarshal(rec.Payload, &e); err != nil {
		return err
	}
	v.out.linef("\nturn %d, %s", rec.Turn, rec.Time.Local().Format(time.DateTime))
	said := abi.TextOf(e.Content)
	if e.Type != abi.EventMessage {
		said = strings.TrimSpace(fmt.Sprintf("(%s %s) %s", e.Type, e.Name, e.Data))
	}
	v.quote(">", said)
	return nil
}

func (v *historyView) intent(rec host.Record) error {
	var i host.Intent
	return v.body(rec, &i, func() {
		attempt := ""
		if i.Attempt > 1 {
			attempt = fmt.Sprintf(" (attempt %d)", i.Attempt)
		}
		v.out.linef("  %s%s", callLine(host.CallView{Path: rec.Path, Name: i.Name, Detail: i.Detail, Decision: i.Decision}), attempt)
	})
}

// outcome shows what the intent did not: failures, and what a crash has hidden.
func (v *historyView) outcome(rec host.Record) error {
	var o host.Outcome
	return v.body(rec, &o, func() {
		switch {
		case rec.Kind == host.EntryUnknown:
			v.out.linef("  %s %s: its outcome is unknown: the host was stopped while it ran", rec.Path, o.Name)
		case o.Code != "" && o.Code != abi.CodeDenied:
			v.out.linef("  %s %s: failed: %s", rec.Path, o.Name, o.Code)
		}
	})
}

func (v *historyView) ended(rec host.Record) error {
	var e host.Ended
	if err := v.body(rec, &e, func() {}); err != nil {
		return err
	}
	if rec.Kind == host.EntryEnd && rec.Payload != nil {
		var reply abi.Reply
		if err := json.Unmarshal(rec.Payload, &reply); err != nil {
			return err
		}
		v.quote("<", abi.TextOf(reply.Content))
	}
	line := fmt.Sprintf("  %s: %s, %d tokens", e.Status, count(int(e.Calls), "call", "calls"), e.Usage.InputTokens+e.Usage.OutputTokens)
	if e.Usage.CostMicros > 0 {
		line += fmt.Sprintf(", %.6f USD", float64(e.Usage.CostMicros)/1e6)
	}
	line += fmt.Sprintf(" (entry %d)", rec.Seq)
	if e.Error != nil {
		line += ": " + clean(e.Error.Error())
	}
	v.out.linef("%s", line)
	return nil
}

func (v *historyView) body(rec host.Record, into any, then func()) error {
	if err := json.Unmarshal(rec.Body, into); err != nil {
		return err
	}
	then()
	return nil
}

func (v *historyView) quote(mark, text string) {
	for line := range strings.Lines(clean(text)) {
		v.out.linef("  %s %s", mark, strings.TrimRight(line, "\n"))
	}
}
