package session

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
)

// maxDifferences bounds what Diff reports.
const maxDifferences = 1000

// Diff compares two sessions turn by turn and call by call.
func (s *Service) Diff(ctx context.Context, c host.Caller, a, b string) (host.Comparison, error) {
	out := host.Comparison{A: a, B: b}
	left, err := s.chapters(ctx, c, a)
	if err != nil {
		return out, err
	}
	right, err := s.chapters(ctx, c, b)
	if err != nil {
		return out, err
	}
	out.Shared = shared(left.seqs, right.seqs)
	turns := map[int]bool{}
	for n := range left.turns {
		turns[n] = true
	}
	for n := range right.turns {
		turns[n] = true
	}
	for _, n := range slices.Sorted(maps.Keys(turns)) {
		out.Differences = append(out.Differences, differences(n, left.turns[n], right.turns[n])...)
	}
	out.Same = len(out.Differences) == 0
	out.Differences = out.Differences[:min(len(out.Differences), maxDifferences)]
	return out, nil
}

// book is a session as it is compared.
type book struct {
	turns map[int]*chapter
	seqs  []host.Entry
}

// chapter is one turn: what it began with, what it called, how it ended.
type chapter struct {
	event  json.RawMessage
	calls  map[string]*passageOf
	reply  json.RawMessage
	status json.RawMessage
}

// passageOf is one call with its result.
type passageOf struct {
	name    json.RawMessage
	request json.RawMessage
	result  json.RawMessage
}

func (s *Service) chapters(ctx context.Context, c host.Caller, session string) (*book, error) {
	head, err := s.Get(ctx, c, session)
	if err != nil {
		return nil, err
	}
	b := &book{turns: map[int]*chapter{}}
	for e, err := range s.opt.Journals.Read(ctx, head.Tenant, head.ID, 1) {
		if err != nil {
			return nil, err
		}
		payload, err := s.opt.Journals.Payload(ctx, head.Tenant, e)
		if err != nil {
			payload = nil // it was erased: names and outcomes still compare
		}
		b.seqs = append(b.seqs, host.Entry{Seq: e.Seq, Time: e.Time, Kind: e.Kind, Domain: e.Domain})
		if e.Turn > 0 {
			b.add(e, payload)
		}
	}
	return b, nil
}

func (b *book) add(e host.Entry, payload []byte) {
	t := b.turns[e.Turn]
	if t == nil {
		t = &chapter{calls: map[string]*passageOf{}}
		b.turns[e.Turn] = t
	}
	switch e.Kind {
	case host.EntryAccepted:
		t.event = payload
	case host.EntryIntent, host.EntryResult, host.EntryUnknown:
		t.call(e, payload)
	case host.EntryEnd, host.EntryAbort:
		var ended host.Ended
		if json.Unmarshal(e.Body, &ended) == nil {
			t.status, _ = json.Marshal(ended.Status)
		}
		t.reply = payload
	default: // how it was run does not matter, what was done does
	}
}

func (t *chapter) call(e host.Entry, payload []byte) {
	p := t.calls[e.Path]
	if p == nil {
		p = &passageOf{}
		t.calls[e.Path] = p
	}
	var body struct {
		Name json.RawMessage `json:"name"`
	}
	_ = json.Unmarshal(e.Body, &body)
	p.name = body.Name
	if e.Kind == host.EntryIntent {
		p.request = payload
	} else {
		p.result = payload
	}
}

// shared is the last entry that two sessions have in common.
func shared(a, b []host.Entry) uint64 {
	var last uint64
	for i := range min(len(a), len(b)) {
		if a[i].Seq != b[i].Seq || a[i].Domain != b[i].Domain || !a[i].Time.Equal(b[i].Time) {
			break
		}
		last = a[i].Seq
	}
	return last
}

// differences lists how two turns differ. A turn that one of them lacks is one difference.
func differences(n int, a, b *chapter) []host.Difference {
	if a == nil || b == nil {
		d := host.Difference{Turn: n, What: "turn"}
		if a != nil {
			d.A = a.event
		} else {
			d.B = b.event
		}
		return []host.Difference{d}
	}
	var out []host.Difference
	note := func(path, what string, x, y json.RawMessage) {
		if !bytes.Equal(x, y) {
			out = append(out, host.Difference{Turn: n, Path: path, What: what, A: x, B: y})
		}
	}
	note("", "event", a.event, b.event)
	paths := map[string]bool{}
	for p := range a.calls {
		paths[p] = true
	}
	for p := range b.calls {
		paths[p] = true
	}
	for _, p := range slices.SortedFunc(maps.Keys(paths), comparePaths) {
		if lastPart(p) == "reply" {
			continue // the reply itself is compared
		}
		x, y := cmpOf(a.calls[p]), cmpOf(b.calls[p])
		note(p, "call", x.name, y.name)
		note(p, "request", x.request, y.request)
		note(p, "result", x.result, y.result)
	}
	note("", "status", a.status, b.status)
	note("", "reply", a.reply, b.reply)
	return out
}

func cmpOf(p *passageOf) passageOf {
	if p == nil {
		return passageOf{}
	}
	return *p
}

// depth is how many calls deep a path is: 1 for a call of the agent itself.
func depth(path string) int { return strings.Count(path, "/") }

func lastPart(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// comparePaths orders call paths by their numbers.
func comparePaths(a, b string) int {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	for i := range min(len(x), len(y)) {
		if len(x[i]) != len(y[i]) {
			return len(x[i]) - len(y[i])
		}
		if c := strings.Compare(x[i], y[i]); c != 0 {
			return c
		}
	}
	return len(x) - len(y)
}
