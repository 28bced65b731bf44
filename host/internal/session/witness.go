package session

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// witness notes the calls that a rehearsed guest makes, and has another model answer if one
// was asked for. It counts paths like the gate, for the agent's own calls.
type witness struct {
	Calls
	root  string
	model string
	calls []seen
	n     int
}

// seen is one call of a guest.
type seen struct {
	path    string
	name    string
	request []byte
	refused bool
}

// Call implements Calls.
func (w *witness) Call(ctx context.Context, name string, request []byte) ([]byte, error) {
	w.n++
	if name == abi.CallModelChat && w.model != "" {
		request = withModel(request, w.model)
	}
	if name != abi.CallWait {
		request = orEmpty(request)
	}
	c := seen{path: w.root + "/" + strconv.Itoa(w.n), name: name, request: slices.Clone(request)}
	if name == abi.CallStart {
		var in abi.Start
		if json.Unmarshal(request, &in) == nil {
			c.name, c.request = in.Name, orEmpty(in.Request)
		}
	}
	out, err := w.Calls.Call(ctx, name, request)
	if name == abi.CallStart && refused(out) { // it has no path
		w.n--
		return out, err
	}
	c.refused = bytes.Contains(out, []byte("is not performed in a rehearsal"))
	w.calls = append(w.calls, c)
	return out, err
}

// orEmpty is a request as the gate records it.
func orEmpty(request []byte) []byte {
	if len(bytes.TrimSpace(request)) == 0 {
		return []byte("{}")
	}
	return request
}

// refused tells whether the gate made no call of what it was asked to start.
func refused(out []byte) bool {
	var r abi.Result
	return json.Unmarshal(out, &r) == nil && r.Error != nil
}

// withModel names another model in a request.
func withModel(request []byte, model string) []byte {
	var fields map[string]json.RawMessage
	name, err := json.Marshal(model)
	if err != nil || json.Unmarshal(request, &fields) != nil {
		return request
	}
	fields["model"] = name
	b, err := json.Marshal(fields)
	if err != nil {
		return request
	}
	return b
}

// compare fills in how the rehearsed turn differs from the recorded one.
func (r *rehearsal) compare(ctx context.Context, t recordedTurn, w *witness, report *host.ReplayedTurn) error {
	was, err := r.recordedCalls(ctx, t)
	if err != nil {
		return err
	}
	report.Calls = len(w.calls)
	for _, c := range w.calls {
		old, ok := was[c.path]
		delete(was, c.path)
		change := host.ReplayedCall{Path: c.path, Name: c.name, Is: c.request, Answer: "record"}
		switch {
		case !ok:
			change.Change = host.CallNew
		case old.name != c.name || old.hash != r.hash(c.request):
			change.Change, change.Was = host.CallChanged, old.request
		default:
			continue
		}
		change.Answer = r.answer(c)
		report.Changes = append(report.Changes, change)
	}
	for _, path := range slices.Sorted(maps.Keys(was)) {
		report.Changes = append(report.Changes, host.ReplayedCall{Path: path, Name: was[path].name, Change: host.CallMissing, Was: was[path].request})
	}
	return r.compareReply(ctx, t, report)
}

func (r *rehearsal) answer(c seen) string {
	switch {
	case c.name == abi.CallModelChat && r.opt.Model != "":
		return "asked"
	case c.refused:
		return "refused"
	}
	return "record"
}

func (r *rehearsal) compareReply(ctx context.Context, t recordedTurn, report *host.ReplayedTurn) error {
	b, err := r.svc.opt.Journals.Payload(ctx, r.head.Tenant, t.end)
	if err != nil {
		return err
	}
	same := false
	if report.Is != nil {
		is, err := json.Marshal(report.Is)
		same = err == nil && bytes.Equal(is, b)
	}
	report.Same = same && len(report.Changes) == 0 && report.Error == ""
	if same {
		report.Is = nil
		return nil
	}
	report.Was = new(abi.Reply)
	return json.Unmarshal(b, report.Was)
}

// old is a recorded call of the agent itself.
type old struct {
	name    string
	hash    string
	request json.RawMessage
}

// recordedCalls are the agent's own calls of a turn, without those of its tools.
func (r *rehearsal) recordedCalls(ctx context.Context, t recordedTurn) (map[string]old, error) {
	out := map[string]old{}
	for _, e := range t.past {
		if depth(e.Path) != 1 || lastPart(e.Path) == "reply" {
			continue
		}
		var body struct{ Name, Hash string }
		if err := json.Unmarshal(e.Body, &body); err != nil {
			return nil, err
		}
		o := out[e.Path]
		o.name, o.hash = body.Name, body.Hash
		if e.Kind == host.EntryIntent {
			var err error
			if o.request, err = r.svc.opt.Journals.Payload(ctx, r.head.Tenant, e); err != nil {
				return nil, err
			}
		}
		out[e.Path] = o
	}
	return out, nil
}
