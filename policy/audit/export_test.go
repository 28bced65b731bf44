package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var product = Product{Version: "1.0.0", Host: "vespiary.test"}

// story is a short log with something of each kind.
func story(t *testing.T) []policy.Record {
	t.Helper()
	l := newLog(t, newMemory())
	write := func(r *policy.Record) *policy.Record {
		if err := l.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	outcome := func(of *policy.Record, code string) {
		r := *of
		r.Kind, r.Of, r.Code, r.Decision, r.Took, r.Result = policy.RecordOutcome, of.ID, code, nil, 1500*time.Microsecond, "hmac-sha256:1234"
		r.Usage = &abi.Usage{InputTokens: 10, OutputTokens: 2, CostMicros: 7}
		r.Time = time.Time{}
		write(&r)
	}
	allowed := record("task")
	allowed.Labels = &abi.Label{Integrity: abi.Trusted, Readers: []string{"user1"}, Sources: []string{"user"}}
	allowed.Evidence = []byte("sealed")
	write(allowed)
	denied := record("task")
	denied.Action, denied.Kinds = "httpSend", []string{"egress", "effect"}
	denied.Resource = policy.UID{Type: "NetHost", ID: "https://example.com:443"}
	denied.Decision = &policy.Decision{
		Set: denied.Decision.Set, Errors: []string{`policy "net": <error> & more`}, Hop: 1,
		Candidate: &policy.Decision{Allowed: true, Set: "sha256:cand", Policies: []policy.Cause{{ID: "net2"}}},
	}
	write(denied)
	outcome(allowed, "ok")
	person := &policy.Record{
		Tenant: tenant, Chain: "people-2026-03-01", Kind: policy.RecordDecision, Session: "01JSESSION", Who: []policy.Actor{{User: "ben"}},
		Key: "k1", Remote: "192.0.2.7:5123", Call: "Sessions.Erase", Action: "eraseSession", Resource: policy.UID{Type: "Session", ID: "01JSESSION"},
		Decision: &policy.Decision{Allowed: true, Set: "sha256:00", Policies: []policy.Cause{{ID: "owners"}}},
	}
	write(person)
	failed := record("task")
	failed.Action, failed.Resource, failed.Kinds = "jira.create_issue", policy.UID{Type: "Tool", ID: "jira.create_issue"}, []string{"effect"}
	failed.Who = slices.Insert(failed.Who, 1, policy.Actor{Run: "01JPARENT", Agent: "lead", Task: "above"})
	write(failed)
	outcome(failed, "unknown_outcome")
	write(&policy.Record{Tenant: tenant, Chain: "task", Kind: policy.RecordTask, Code: "completed", Note: "the turn ended", Who: []policy.Actor{{Task: "task", User: "user1"}}})
	return collect(t, l.Search(t.Context(), Query{Tenant: tenant}))
}

func sequence(rs []policy.Record) iter.Seq2[policy.Record, error] {
	return func(yield func(policy.Record, error) bool) {
		for _, r := range rs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func export(t *testing.T, f Format, rs []policy.Record) []byte {
	t.Helper()
	var out bytes.Buffer
	n, err := Export(&out, f, product, sequence(rs))
	if err != nil || n != len(rs) {
		t.Fatalf("%s: %d records: %v", f, n, err)
	}
	return out.Bytes()
}

func TestExportGolden(t *testing.T) {
	rs := story(t)
	for f, name := range map[Format]string{JSONL: "export.jsonl", OCSF: "export.ocsf.jsonl", CloudTrail: "export.cloudtrail.json"} {
		got := export(t, f, rs)
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestExportJSONL checks lines as somebody does who has only them.
func TestExportJSONL(t *testing.T) {
	prev := map[string]string{}
	for line := range bytes.Lines(export(t, JSONL, story(t))) {
		var r struct {
			Chain, Prev, Hash string
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		without := strings.Replace(strings.TrimSuffix(string(line), "\n"), `"hash":"`+r.Hash+`",`, "", 1)
		if digestText(digest([]byte(without))) != r.Hash || r.Prev != prev[r.Chain] {
			t.Errorf("the hashes of %s do not fit", line)
		}
		prev[r.Chain] = r.Hash
	}
}

func ocsfSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile("testdata/ocsf-api-activity.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parseJSON(t *testing.T, b []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestExportOCSF holds events of stories and of random records to the schema.
func TestExportOCSF(t *testing.T) {
	schema := ocsfSchema(t)
	rs := story(t)
	rnd := rand.New(rand.NewPCG(9, 9))
	for i := range 300 {
		r := randomRecord(rnd, i%10 == 0)
		r.Hash = digestText(digest(canonical(nil, &r)))
		r.Kind = []policy.RecordKind{policy.RecordDecision, policy.RecordOutcome, policy.RecordTask}[i%3]
		r.Remote = []string{"", "192.0.2.1", "[2001:db8::1%eth0]:443", "pipe"}[i%4]
		r.Action = []string{"", "fileRead", "eraseSession", "connectorCreate", "x.delete_it"}[i%5]
		r.Kinds = [][]string{nil, {"effect"}, {"observe"}, {"egress"}}[i%4]
		rs = append(rs, r)
	}
	for line := range bytes.Lines(export(t, OCSF, rs)) {
		if err := schema.Validate(parseJSON(t, line)); err != nil {
			t.Errorf("%s%v", line, err)
		}
	}
}

// TestOCSFSchema shows that the schema refuses what is wrong with an event.
func TestOCSFSchema(t *testing.T) {
	schema := ocsfSchema(t)
	good := slices.Collect(bytes.Lines(export(t, OCSF, story(t))))[0]
	for name, change := range map[string]func(map[string]any){
		"no actor":            func(e map[string]any) { delete(e, "actor") },
		"no time":             func(e map[string]any) { delete(e, "time") },
		"another class":       func(e map[string]any) { e["class_uid"] = 6001 },
		"a type that differs": func(e map[string]any) { e["type_uid"] = 600302 },
		"an unknown status":   func(e map[string]any) { e["status_id"] = 7 },
		"a wrong caption":     func(e map[string]any) { e["status"] = "Fine" },
		"a time in words":     func(e map[string]any) { e["time"] = "now" },
		"a new attribute":     func(e map[string]any) { e["delegation"] = []any{} },
		"an empty endpoint":   func(e map[string]any) { e["src_endpoint"] = map[string]any{} },
		"no address":          func(e map[string]any) { e["src_endpoint"] = map[string]any{"ip": "x"} },
		"no operation":        func(e map[string]any) { e["api"] = map[string]any{"version": "1"} },
	} {
		e, _ := parseJSON(t, good).(map[string]any)
		if err := schema.Validate(e); err != nil {
			t.Fatal(err)
		}
		if change(e); schema.Validate(e) == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestPairs shows when an outcome is joined to its decision, and that none is lost.
func TestPairs(t *testing.T) {
	var rs []policy.Record
	decide := func(id string) {
		rs = append(rs, policy.Record{ID: id, Kind: policy.RecordDecision, Decision: &policy.Decision{Allowed: true}})
	}
	settle := func(of string) { rs = append(rs, policy.Record{ID: "of-" + of, Kind: policy.RecordOutcome, Of: of}) }
	decide("near")
	decide("never")
	settle("near")
	settle("stranger")
	for range maxPairs {
		rs = append(rs, policy.Record{ID: "x", Kind: policy.RecordTask})
	}
	settle("never") // which did not wait as long
	decide("last")
	var got []string
	n, err := exportEvents(sequence(rs), func(e event) error {
		if e.ID != "x" {
			id := e.ID
			if e.outcome != nil {
				id += "+" + e.outcome.ID
			}
			got = append(got, id)
		}
		return nil
	})
	want := []string{"near+of-near", "never", "of-stranger", "of-never", "last"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil || n != len(rs) {
		t.Errorf("%d, %v (-want +got):\n%s", n, err, diff)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestExportErrors(t *testing.T) {
	rs := story(t)
	for _, f := range []Format{JSONL, OCSF, CloudTrail} {
		if _, err := Export(brokenWriter{}, f, product, sequence(rs)); err == nil {
			t.Errorf("%s: no error of the writer", f)
		}
		failing := func(yield func(policy.Record, error) bool) {
			if yield(rs[0], nil) {
				yield(policy.Record{}, errors.New("a fault"))
			}
		}
		if n, err := Export(&bytes.Buffer{}, f, product, failing); err == nil || n != 1 {
			t.Errorf("%s: %d records and no error of the search", f, n)
		}
	}
	if _, err := Export(&bytes.Buffer{}, "xml", product, sequence(rs)); err == nil {
		t.Error("there is no such format")
	}
	var file struct{ Records []json.RawMessage }
	if err := json.Unmarshal(export(t, CloudTrail, nil), &file); err != nil || len(file.Records) != 0 {
		t.Errorf("no records: %v", err)
	}
}

func BenchmarkExport(b *testing.B) {
	r := *record("task")
	r.ID, r.N, r.Time, r.Hash = "task.1", 1, newClock().now(), r.Args
	rs := slices.Repeat([]policy.Record{r}, 1000)
	for _, f := range []Format{JSONL, OCSF, CloudTrail} {
		b.Run(string(f), func(b *testing.B) {
			for b.Loop() {
				var out bytes.Buffer
				if _, err := Export(&out, f, product, sequence(rs)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rs)), "ns/record")
		})
	}
}
