package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/internal/jcs"
)

const algorithm = "sha256:"

// canonical appends the bytes that the hash of a record is taken over: the record as JSON,
// without its field hash, in the form of RFC 8785. Whole numbers beyond 2^53, which that
// form does not know, are written in full.
func canonical(dst []byte, r *policy.Record) []byte {
	w := writer{dst}
	w.record(r, "")
	return w.b
}

func digest(canonical []byte) [sha256.Size]byte { return sha256.Sum256(canonical) }

func digestText(h [sha256.Size]byte) string {
	var b [len(algorithm) + 2*sha256.Size]byte
	hex.Encode(b[copy(b[:], algorithm):], h[:])
	return string(b[:])
}

// decode reads a record as it is stored.
func decode(canonical []byte) (r policy.Record, err error) {
	if err := json.Unmarshal(canonical, &r); err != nil {
		return r, fmt.Errorf("audit: read a record: %w", err)
	}
	r.Hash = digestText(digest(canonical))
	return r, nil
}

// writer writes objects whose keys come in the order of their bytes, each with its quotes
// and colon. A field that says nothing is left out, as encoding/json does by the tags of
// policy.Record.
type writer struct{ b []byte }

func (w *writer) key(k string) {
	if last := w.b[len(w.b)-1]; last != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, k...)
}

func (w *writer) open()  { w.b = append(w.b, '{') }
func (w *writer) close() { w.b = append(w.b, '}') }

func (w *writer) always(k, s string) {
	w.key(k)
	w.b = jcs.AppendString(w.b, s)
}

func (w *writer) text(k, s string) {
	if s != "" {
		w.always(k, s)
	}
}

func (w *writer) int(k string, n int64) {
	if n != 0 {
		w.key(k)
		w.b = strconv.AppendInt(w.b, n, 10)
	}
}

func (w *writer) bool(k string, v bool) {
	w.key(k)
	w.b = strconv.AppendBool(w.b, v)
}

func (w *writer) texts(k string, list []string) {
	writeAll(w, k, list, func(w *writer, s *string) { w.b = jcs.AppendString(w.b, *s) })
}

// writeAll writes a list, unless it is empty.
func writeAll[T any](w *writer, k string, list []T, one func(*writer, *T)) {
	if len(list) == 0 {
		return
	}
	w.key(k)
	w.b = append(w.b, '[')
	for i := range list {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		one(w, &list[i])
	}
	w.b = append(w.b, ']')
}

func (w *writer) record(r *policy.Record, hash string) {
	w.open()
	w.text(`"action":`, r.Action)
	w.text(`"approval":`, r.Approval)
	w.text(`"args":`, r.Args)
	w.text(`"call":`, r.Call)
	w.always(`"chain":`, r.Chain)
	w.text(`"code":`, r.Code)
	if r.Decision != nil {
		w.key(`"decision":`)
		w.decision(r.Decision)
	}
	w.bytes(`"evidence":`, r.Evidence)
	w.text(`"hash":`, hash)
	w.always(`"id":`, r.ID)
	w.text(`"key":`, r.Key)
	w.always(`"kind":`, string(r.Kind))
	w.texts(`"kinds":`, r.Kinds)
	if r.Labels != nil {
		w.key(`"labels":`)
		w.label(r.Labels)
	}
	w.text(`"model":`, r.Model)
	w.key(`"n":`)
	w.b = strconv.AppendUint(w.b, r.N, 10)
	w.text(`"note":`, r.Note)
	w.text(`"of":`, r.Of)
	w.text(`"path":`, r.Path)
	w.text(`"prev":`, r.Prev)
	w.text(`"remote":`, r.Remote)
	if r.Resource != (policy.UID{}) {
		w.key(`"resource":`)
		w.uid(&r.Resource)
	}
	w.text(`"result":`, r.Result)
	w.text(`"session":`, r.Session)
	w.always(`"tenant":`, r.Tenant)
	w.time(`"time":`, r.Time)
	w.int(`"took_ns":`, int64(r.Took))
	w.int(`"turn":`, int64(r.Turn))
	if r.Usage != nil {
		w.key(`"usage":`)
		w.usage(r.Usage)
	}
	writeAll(w, `"who":`, r.Who, (*writer).actor)
	w.close()
}

func (w *writer) bytes(k string, b []byte) {
	if len(b) == 0 {
		return
	}
	w.key(k)
	w.b = append(w.b, '"')
	w.b = base64.StdEncoding.AppendEncode(w.b, b)
	w.b = append(w.b, '"')
}

func (w *writer) time(k string, t time.Time) {
	w.key(k)
	w.b = append(w.b, '"')
	w.b = t.UTC().AppendFormat(w.b, time.RFC3339Nano)
	w.b = append(w.b, '"')
}

func (w *writer) uid(u *policy.UID) {
	w.open()
	w.always(`"id":`, u.ID)
	w.always(`"type":`, u.Type)
	w.close()
}

func (w *writer) actor(a *policy.Actor) {
	w.open()
	w.text(`"agent":`, a.Agent)
	w.text(`"module":`, a.Module)
	w.text(`"run":`, a.Run)
	w.text(`"task":`, a.Task)
	w.text(`"user":`, a.User)
	w.close()
}

func (w *writer) decision(d *policy.Decision) {
	w.open()
	w.bool(`"allowed":`, d.Allowed)
	w.text(`"approval":`, d.Approval)
	if d.Candidate != nil {
		w.key(`"candidate":`)
		w.decision(d.Candidate)
	}
	w.texts(`"errors":`, d.Errors)
	w.int(`"hop":`, int64(d.Hop))
	writeAll(w, `"policies":`, d.Policies, (*writer).cause)
	w.always(`"set":`, d.Set)
	w.close()
}

func (w *writer) cause(c *policy.Cause) {
	w.open()
	w.text(`"file":`, c.File)
	w.always(`"id":`, c.ID)
	w.int(`"line":`, int64(c.Line))
	w.close()
}

func (w *writer) label(l *abi.Label) {
	w.open()
	w.key(`"integrity":`)
	w.b = strconv.AppendInt(w.b, int64(l.Integrity), 10)
	if l.Public {
		w.bool(`"public":`, true)
	}
	w.texts(`"readers":`, l.Readers)
	w.texts(`"sources":`, l.Sources)
	w.close()
}

func (w *writer) usage(u *abi.Usage) {
	w.open()
	w.int(`"cache_read_tokens":`, u.CacheReadTokens)
	w.int(`"cost_usd_micros":`, u.CostMicros)
	w.int(`"fuel":`, u.Fuel)
	w.int(`"input_tokens":`, u.InputTokens)
	w.int(`"output_tokens":`, u.OutputTokens)
	w.close()
}
