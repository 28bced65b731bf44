package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/vespiary/vespiary/policy"
)

// Format is a form that records are exported in.
type Format string

// The formats of Export.
const (
	// JSONL has a record a line, in the form of RFC 8785. Without its field "hash" a line has
	// the bytes that the hash was taken over.
	JSONL Format = "jsonl"
	// OCSF has an event of the Open Cybersecurity Schema Framework a line: API Activity,
	// class 6003. A decision and its outcome are one event if they are close together.
	OCSF Format = "ocsf"
	// CloudTrail has the form of a log file of AWS CloudTrail, with an event a line. A
	// decision and its outcome are one event if they are close together.
	CloudTrail Format = "cloudtrail"
)

// Product says in an export who recorded the events.
type Product struct {
	Version string // of the host
	Host    string // its name, such as that of the key that signs checkpoints; may be empty
}

// Export writes records, which come in the order of time, and returns how many there were.
// It holds only some of them in memory. After an error what was written is incomplete.
func Export(w io.Writer, f Format, p Product, found iter.Seq2[policy.Record, error]) (n int, err error) {
	out := bufio.NewWriter(w)
	switch f {
	case JSONL:
		n, err = exportJSONL(out, found)
	case OCSF:
		n, err = exportEvents(found, func(e event) error { return writeLine(out, p.ocsf(e)) })
	case CloudTrail:
		n, err = exportCloudTrail(out, p, found)
	default:
		return 0, fmt.Errorf("audit: export as %q: there are %s, %s and %s", f, JSONL, OCSF, CloudTrail)
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return n, fmt.Errorf("audit: export as %s, after %d records: %w", f, n, err)
	}
	return n, nil
}

func exportJSONL(out *bufio.Writer, found iter.Seq2[policy.Record, error]) (n int, err error) {
	var line writer
	for r, err := range found {
		if err != nil {
			return n, err
		}
		line.b = line.b[:0]
		line.record(&r, r.Hash)
		if _, err := out.Write(append(line.b, '\n')); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// writeLine writes a value as JSON that is not made for HTML.
func writeLine(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// event is what other formats have one entry for: a record, and what came of it if that was
// at hand.
type event struct {
	*policy.Record
	outcome *policy.Record
}

// exportEvents joins outcomes to their decisions.
func exportEvents(found iter.Seq2[policy.Record, error], write func(event) error) (n int, err error) {
	p := pairs{write: write, open: map[string]*event{}}
	for r, err := range found {
		if err != nil {
			return n, err
		}
		n++
		if err := p.add(&r); err != nil {
			return n, err
		}
	}
	return n, p.flush(0)
}

// maxPairs is how many events wait for their outcome.
const maxPairs = 1024

// pairs holds events back, in their order, until what came of the first one is known or too
// many wait.
type pairs struct {
	write func(event) error
	queue []*event
	open  map[string]*event // by id, decisions whose outcome is not known
}

func (p *pairs) add(r *policy.Record) error {
	if e := p.open[r.Of]; e != nil && r.Kind == policy.RecordOutcome {
		e.outcome = r
		delete(p.open, r.Of)
		return p.flush(maxPairs)
	}
	e := &event{Record: r}
	p.queue = append(p.queue, e)
	if r.Kind == policy.RecordDecision && r.Decision != nil && r.Decision.Allowed {
		p.open[r.ID] = e
	}
	return p.flush(maxPairs)
}

// flush writes the first events: those that nothing is missing of, and those that are too
// many.
func (p *pairs) flush(most int) error {
	n := 0
	for _, e := range p.queue {
		if p.open[e.ID] != nil && len(p.queue)-n <= most {
			break
		}
		if err := p.write(*e); err != nil {
			return err
		}
		delete(p.open, e.ID)
		n++
	}
	p.queue = append(p.queue[:0], p.queue[n:]...)
	return nil
}
