package access_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// kinds says of each guarded method what it is. A method that is missing here fails the
// tests.
var kinds = map[string]string{
	"Sessions.Invoke": "change", "Sessions.Turn": "read", "Sessions.Await": "read", "Sessions.Events": "read",
	"Sessions.Journal": "read", "Sessions.List": "list", "Sessions.Get": "find", "Sessions.Cancel": "change",

	"Durable.Approvals": "list", "Durable.Approval": "find", "Durable.Answer": "change", "Durable.Unsettled": "list",
	"Durable.Settle": "change", "Durable.Fork": "change", "Durable.Revert": "change", "Durable.Replay": "change",
	"Durable.Diff": "read", "Durable.Upgrade": "change", "Durable.Export": "change", "Durable.Import": "change",
	"Durable.Verify": "read", "Durable.Signal": "change", "Durable.Unpark": "change", "Durable.Erase": "change",

	"Agents.List": "list", "Admin.Install": "change", "Admin.Decisions": "list", "Admin.Reload": "change", "Backup.Backup": "change",

	"Tasks.OpenTask": "change", "Tasks.Task": "find", "Tasks.Tasks": "list", "Tasks.CallTask": "token", "Tasks.EndTask": "change",
	"Delegation.Delegate": "change", "Delegation.KeySet": "open",

	"Keys.List": "read", "Keys.Create": "change", "Keys.Revoke": "change",

	"Policies.Active": "read", "Policies.Set": "read", "Policies.Change": "change", "Policies.Check": "read", "Policies.Schema": "read",
	"Policies.Simulate": "read", "Policies.Explain": "read", "Policies.Reach": "read", "Policies.Tightest": "read",

	"Audit.Search": "read", "Audit.Record": "read", "Audit.Tail": "read", "Audit.Export": "change", "Audit.Checkpoint": "read", "Audit.Verify": "read",
}

// called is what came of a method: its results but the error, and all that it yielded and
// wrote.
type called struct {
	results []any
	yielded int
	err     error
}

// empty reports whether nothing came out.
func (c *called) empty() bool {
	for _, r := range c.results {
		if v := reflect.ValueOf(r); v.IsValid() && !v.IsZero() && (v.Kind() != reflect.Slice || v.Len() > 0) {
			return false
		}
	}
	return c.yielded == 0
}

// each calls every method of every guarded service as a caller; before is called before.
func (w *world) each(c host.Caller, before func(), after func(name, kind string, out called)) {
	w.t.Helper()
	seen := 0
	for service, s := range w.services() {
		v := reflect.ValueOf(s)
		for i := range v.NumMethod() {
			name := service + "." + v.Type().Method(i).Name
			kind, ok := kinds[name]
			if !ok {
				w.t.Errorf("%s is in no row of the table", name)
				continue
			}
			seen++
			w.forget()
			before()
			after(name, kind, w.do(v.Method(i), c))
		}
	}
	if seen != len(kinds) {
		w.t.Errorf("%d methods for %d rows", seen, len(kinds))
	}
}

// do calls a method with arguments that ask for all that it can be asked for.
func (w *world) do(m reflect.Value, c host.Caller) called {
	var out called
	args := make([]reflect.Value, m.Type().NumIn())
	var file strings.Builder
	for i := range args {
		args[i] = w.argument(m.Type().In(i), c, &file)
	}
	for _, r := range m.Call(args) {
		switch r := r.Interface().(type) {
		case error:
			out.err = r
		case iter.Seq2[host.StreamEvent, error]:
			out.yielded, out.err = drain(r)
		case iter.Seq2[policy.Record, error]:
			out.yielded, out.err = drain(r)
		default:
			out.results = append(out.results, r)
		}
	}
	out.results = append(out.results, file.String())
	return out
}

func drain[T any](all iter.Seq2[T, error]) (n int, err error) {
	for _, err = range all {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (w *world) argument(t reflect.Type, c host.Caller, file io.Writer) reflect.Value {
	switch t {
	case reflect.TypeFor[host.Caller]():
		return reflect.ValueOf(c)
	case reflect.TypeFor[host.Invocation]():
		return reflect.ValueOf(host.Invocation{Caller: c, Agent: "hello", Session: "S1", Task: host.TaskSpec{Grants: []policy.Grant{}}})
	case reflect.TypeFor[host.Signal]():
		return reflect.ValueOf(host.Signal{Caller: c, Session: "S1", Name: "go"})
	case reflect.TypeFor[io.Writer]():
		return reflect.ValueOf(file)
	case reflect.TypeFor[io.Reader]():
		return reflect.ValueOf(strings.NewReader(""))
	case reflect.TypeFor[string]():
		return reflect.ValueOf("T2") // the fitting id of a task that was delegated; others take any
	}
	if t == reflect.TypeFor[context.Context]() {
		return reflect.ValueOf(w.t.Context())
	}
	return reflect.Zero(t)
}

// TestNothingWithoutAPermit: without a policy nothing reaches a service but the question
// whether a thing is there, nothing comes out, and a denial is on record.
func TestNothingWithoutAPermit(t *testing.T) {
	w := newWorld(t, "")
	w.each(user1, func() {}, func(name, kind string, out called) {
		switch {
		case kind == "open":
			return
		case kind == "list":
			if out.err != nil {
				t.Errorf("%s: %v", name, out.err)
			}
		case out.err == nil:
			t.Errorf("%s was allowed", name)
		case kind != "find" && w.at("inner "+name) >= 0:
			t.Errorf("%s reached the service: %v", name, w.log)
		}
		if !out.empty() {
			t.Errorf("%s gave %v", name, out)
		}
		if d := w.decided(name); !contains(d, " no") || contains(d, " yes") {
			t.Errorf("%s: decisions on record: %v", name, d)
		}
	})
}

// TestAllWithAPermit: with one, all reach the service; what changes something, or lets
// much out, only after the decision is durable, and its outcome is on record.
func TestAllWithAPermit(t *testing.T) {
	w := newWorld(t, permitAll)
	w.each(user1, func() {}, func(name, kind string, out called) {
		if kind == "open" || kind == "token" {
			return
		}
		if out.err != nil || out.empty() && kind != "change" {
			t.Errorf("%s: %+v", name, out)
		}
		inner := w.at("inner " + name)
		if d := w.decided(name); inner < 0 || !contains(d, " yes") || contains(d, " no") {
			t.Errorf("%s: %v, decisions %v", name, w.log, d)
		}
		if kind != "change" {
			return
		}
		if write := w.at("write " + name); write < 0 || write > inner || write != inner-1 {
			t.Errorf("%s: nothing durable directly before it: %v", name, w.log)
		}
		last := w.records[len(w.records)-1]
		if !slices.Equal(w.outcomes(name), []string{"ok"}) || last.Of != w.records[len(w.records)-2].ID {
			t.Errorf("%s: outcome %+v", name, last)
		}
	})
}

// asked says what each method asks for, where that is more than one action or not of its
// own name.
var asked = map[string]string{
	"Sessions.Invoke": "invokeAgent continueSession openTask", "Sessions.Cancel": "cancelSession",
	"Durable.Answer": "approve", "Durable.Approval": "approve", "Durable.Approvals": "approve", "Durable.Settle": "settleCall",
	"Durable.Fork": "forkSession", "Durable.Revert": "revertSession", "Durable.Replay": "replaySession", "Durable.Diff": "readSession readSession",
	"Durable.Upgrade": "upgradeSession", "Durable.Export": "exportSession", "Durable.Import": "importSession", "Durable.Signal": "invokeAgent continueSession signalSession",
	"Durable.Unpark": "resumeSession", "Durable.Erase": "eraseSession", "Agents.List": "readAgent", "Admin.Install": "installModule",
	"Admin.Reload": "reloadHost", "Backup.Backup": "backupHost", "Tasks.OpenTask": "openTask", "Tasks.EndTask": "endTask",
	"Tasks.CallTask": "callTask", "Delegation.Delegate": "delegateTask",
	"Keys.List": "readKeys", "Keys.Create": "createKey", "Keys.Revoke": "revokeKey", "Policies.Change": "writePolicies",
	"Policies.Simulate": "readPolicies readAudit", "Policies.Explain": "readPolicies readAudit", "Policies.Tightest": "readPolicies readAudit",
}

// usual is what the other methods of a service ask for.
var usual = map[string]string{"Sessions": "readSession", "Durable": "readSession", "Admin": "readSession", "Tasks": "readTask", "Policies": "readPolicies", "Audit": "readAudit"}

// TestActions: each method asks for what it does, and takes all of it down.
func TestActions(t *testing.T) {
	w := newWorld(t, permitAll)
	w.each(user1, func() {}, func(name, kind string, _ called) {
		service, _, _ := strings.Cut(name, ".")
		want := strings.Fields(cmp.Or(asked[name], usual[service]))
		for i := range want {
			want[i] += map[bool]string{true: " no", false: " yes"}[kind == "token"]
		}
		if got := w.decided(name); kind != "open" && !slices.Equal(got, want) {
			t.Errorf("%s asks for %v, want %v", name, got, want)
		}
	})
}

// TestNothingUnrecorded: what cannot be taken down is not done.
func TestNothingUnrecorded(t *testing.T) {
	for cause, want := range map[error]host.ErrorCode{
		errors.New("i/o error"): host.ErrUnavailable, store.ErrFull: host.ErrFull, host.Errorf(host.ErrFull, "full"): host.ErrFull,
	} {
		w := newWorld(t, permitAll)
		w.broken = cause
		w.each(user1, func() {}, func(name, kind string, out called) {
			if kind != "open" && kind != "token" && (host.CodeOf(out.err) != want || kind == "change" && w.at("inner "+name) >= 0 || !out.empty()) {
				t.Errorf("%s: %+v, %v", name, out, w.log)
			}
		})
	}
}

// TestTokenOfATask: its holder may work in that task, whatever policies say, and nowhere
// else.
func TestTokenOfATask(t *testing.T) {
	holder := host.Caller{Tenant: "home", User: "user1", Via: host.ViaTask, Task: "T2"}
	own := []string{"Tasks.Task", "Tasks.CallTask", "Tasks.EndTask"}
	for _, text := range []string{"", permitAll} {
		w := newWorld(t, text)
		w.each(holder, func() {}, func(name, kind string, out called) {
			switch {
			case kind == "open":
			case slices.Contains(own, name):
				if out.err != nil || w.at("inner "+name) < 1 || !contains(w.decided(name), " yes") {
					t.Errorf("%s: %v, %v", name, out.err, w.log)
				}
			case host.CodeOf(out.err) != host.ErrForbidden || contains(w.log, "inner ") || !out.empty() || !contains(w.decided(name), " no"):
				t.Errorf("%s: %+v, %v", name, out, w.log)
			}
		})
	}
	other := holder
	other.Task = "T1"
	w := newWorld(t, permitAll)
	w.each(other, func() {}, func(name, kind string, out called) {
		if kind != "open" && (host.CodeOf(out.err) != host.ErrForbidden || contains(w.log, "inner ")) {
			t.Errorf("with the token of another task %s: %+v, %v", name, out, w.log)
		}
	})
}

// TestScopes: a key is for what its scopes name, and says nothing of what is there.
func TestScopes(t *testing.T) {
	limited := user1
	limited.Scopes = []string{"something"}
	for _, empty := range []bool{true, false} {
		w := newWorld(t, permitAll)
		w.empty = empty
		w.each(limited, func() {}, func(name, kind string, out called) {
			if kind != "open" && kind != "token" && (host.CodeOf(out.err) != host.ErrForbidden || contains(w.log, "inner ") || !contains(w.decided(name), " no")) {
				t.Errorf("%s: %+v, %v", name, out, w.log)
			}
		})
	}
	all := user1
	all.Scopes = []string{"read", "use", "manage", "administer", "approve"}
	w := newWorld(t, permitAll)
	w.each(all, func() {}, func(name, kind string, out called) {
		wider := name == "Keys.Create" // without scopes the new key would be wider
		if kind != "token" && (out.err != nil) != wider {
			t.Errorf("%s: %v", name, out.err)
		}
	})
}
