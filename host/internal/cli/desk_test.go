package cli_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
	"github.com/vespiary/vespiary/host/internal/api/rest"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// desk is an App whose edge and policies are real and whose agents are made up.
type desk struct{}

var _ cli.App = (*desk)(nil)

// Serve answers with the agents of apitest. With an activity to tell of it tells
// of one allowed and one denied call.
func (*desk) Serve(ctx context.Context, cfg *config.Config, o cli.ServeOptions) error {
	sessions, tasks := apitest.NewSessions(), apitest.NewTasks()
	server, err := api.New(api.Options{
		Auth: auth{}, Now: time.Now,
		Routes: rest.Routes(rest.Options{
			Sessions: sessions, Agents: apitest.Agents{}, Admin: admin{cfg: cfg}, Durable: sessions, Backup: apitest.Backup{Size: 2000},
			Tasks: tasks, Keys: &apitest.Keys{}, Policies: apitest.NewPolicies(), Audit: apitest.Audit{},
			Now: func() time.Time { return apitest.Epoch },
		}),
	})
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return err
	}
	url := "http://" + ln.Addr().String()
	file := filepath.Join(cfg.Data, "server.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"url":%q,"pid":%d}`, url, os.Getpid()), 0o600); err != nil {
		return err
	}
	defer os.Remove(file) //nolint:errcheck // of a test
	o.Ready(url)
	if o.Activity != nil {
		tellOf(o.Activity)
	}
	return server.Serve(ctx, ln)
}

func tellOf(tell func(cli.Activity)) {
	allowed := host.CallView{
		Path: "1/1", Name: "file_read", Detail: "docs/a.md",
		Decision: policy.Decision{Allowed: true, Policies: []policy.Cause{{ID: "agents-read-files", File: "files.cedar", Line: 3}}},
	}
	tell(cli.Activity{Time: apitest.Epoch, Session: "S1", Agent: "echo", Call: allowed})
	allowed.Error = &abi.Error{Code: abi.CodeNotFound, Message: "no file\x1b[2J docs/a.md"}
	tell(cli.Activity{Time: apitest.Epoch, Session: "S1", Agent: "echo", Call: allowed, Over: true})
	tell(cli.Activity{
		Time: apitest.Epoch, Session: "S1", Agent: "echo", Hint: "permit (…);",
		Call: host.CallView{Path: "1/2", Name: "http_fetch", Detail: "https://example.com/"},
	})
	tellOfStops(tell)
}

// tellOfStops tells of a call that a person must approve, and of what turns wait for.
func tellOfStops(tell func(cli.Activity)) {
	tell(cli.Activity{
		Time: apitest.Epoch, Session: "S1", Agent: "echo", Hint: "permit (…);",
		Call: host.CallView{Path: "1/3", Name: abi.CallToolCall, Detail: "pay.transfer", Decision: policy.Decision{
			Approval: "approval", Policies: []policy.Cause{{ID: "payments", File: "pay.cedar", Line: 1}},
		}},
	})
	a := host.Approval{
		ID: "-a1", Status: host.ApprovalPending, Path: "1/3", Action: "payTransfer",
		Resource: policy.UID{Type: "Tool", ID: "pay.transfer"}, Expires: apitest.Epoch.Add(time.Hour),
	}
	tell(cli.Activity{Time: apitest.Epoch, Session: "S1", Agent: "echo", Approval: &a})
	waits := []abi.Wait{{Type: abi.EventApproval, Name: a.ID, At: a.Expires}}
	tell(cli.Activity{Time: apitest.Epoch, Session: "S1", Agent: "echo", Suspension: &host.Suspension{Turn: 2, Waiting: waits}})
	answered := a
	answered.Status, answered.By = host.ApprovalGranted, "world"
	tell(cli.Activity{Time: apitest.Epoch, Session: "S1", Agent: "echo", Approval: &answered})
	waits = []abi.Wait{{Type: abi.EventTimer, Name: "tea", At: apitest.Epoch.Add(time.Minute)}, {Type: abi.EventSignal, Name: "go on"}}
	tell(cli.Activity{Time: apitest.Epoch, Session: "S1", Agent: "echo", Suspension: &host.Suspension{Turn: 1, Waiting: waits}})
}

// auth also knows the tokens of tasks.
type auth struct{ apitest.Auth }

// Authenticate implements api.Authenticator.
func (a auth) Authenticate(ctx context.Context, token string) (host.Caller, error) {
	if strings.HasPrefix(token, "vsp_task_") {
		return apitest.Caller, nil
	}
	return a.Auth.Authenticate(ctx, token)
}

// admin notes reloads, so that scripts can wait for them.
type admin struct {
	apitest.Admin
	cfg *config.Config
}

// Reload implements api.Admin.
func (a admin) Reload(context.Context, host.Caller) error {
	f, err := os.OpenFile(filepath.Join(a.cfg.Data, "reloads"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString("reload\n")
	return errors.Join(err, f.Close())
}

// Open is a store with one session.
func (*desk) Open(context.Context, *config.Config) (cli.Service, error) { return shelf{}, nil }

// CreateKey makes the key that apitest knows.
func (*desk) AuditKey(name string) (private, public string, err error) {
	return "PRIVATE+KEY+" + name, name + "+public", nil
}

func (*desk) CreateKey(_ context.Context, cfg *config.Config, spec host.APIKeySpec) (host.APIKey, string, error) {
	k := host.APIKey{ID: "K9", Name: spec.Name, User: cmp.Or(spec.User, "local"), Scopes: spec.Scopes, Expires: spec.Expires}
	return k, apitest.Key, os.MkdirAll(cfg.Data, 0o700)
}

// ProbeModel fails for models named broken.
func (*desk) ProbeModel(_ context.Context, _ *config.Config, name string) error {
	if name == "broken" {
		return errors.New("it does not answer; check its base_url")
	}
	return nil
}

// Starter is real.
func (*desk) Starter() fs.FS { return cedar.Starter() }

// Builtins lacks nothing unless the environment says so.
func (*desk) Builtins() []string {
	if os.Getenv("NO_PLUGINS") != "" {
		return nil
	}
	return []string{"basic", "loop"}
}

// shelf is the state of a host that does not run: one session whose journal has
// all that can be shown.
type shelf struct{ io.Closer }

func (shelf) Close() error { return nil }

func (shelf) Sessions(_ context.Context, f host.SessionFilter) ([]host.Session, error) {
	s, err := shelf{}.Session(context.Background(), "S7")
	if f.Agent != "" && f.Agent != s.Agent {
		return nil, err
	}
	return []host.Session{s}, err
}

func (shelf) Session(_ context.Context, id string) (host.Session, error) {
	if id != "S7" {
		return host.Session{}, host.Errorf(host.ErrNotFound, "there is no session %q", id)
	}
	return host.Session{
		ID: "S7", Agent: "assistant", Module: "sha256:77", Status: host.SessionParked, Reason: "three crashes",
		Created: apitest.Epoch, Updated: apitest.Epoch, Turns: 2, Ended: 1, Usage: abi.Usage{InputTokens: 30, OutputTokens: 5},
	}, nil
}

func (shelf) Cancel(ctx context.Context, id string) (host.Session, error) {
	return shelf{}.Session(ctx, id)
}

func (shelf) Install(context.Context, string, []byte) (string, error) { return "sha256:99", nil }

func (shelf) Decisions(context.Context, bool, int) ([]host.DecisionRecord, error) { return nil, nil }

func (shelf) Journal(_ context.Context, _ string, from uint64, _ int) ([]host.Record, error) {
	denied := policy.Decision{Policies: []policy.Cause{{ID: "no-private-networks", File: "limits.cedar", Line: 40}}}
	allowed := policy.Decision{Allowed: true, Policies: []policy.Cause{{ID: "agents-call-models", File: "agents.cedar", Line: 12}}}
	records := []host.Record{
		record(host.EntryAccepted, "", host.Accepted{}, abi.Event{Type: abi.EventMessage, Content: []abi.Content{abi.Text("what is\nthis?")}}),
		record(host.EntryIntent, "1/1", host.Intent{Name: "model_chat", Detail: "main", Attempt: 1, Decision: allowed}, nil),
		record(host.EntryResult, "1/1", host.Outcome{Name: "model_chat"}, nil),
		record(host.EntryIntent, "1/2", host.Intent{Name: "http_fetch", Detail: "http://10.0.0.1/", Attempt: 1, Decision: denied}, nil),
		record(host.EntryResult, "1/2", host.Outcome{Name: "http_fetch", Code: abi.CodeDenied}, nil),
		record(host.EntryIntent, "1/3", host.Intent{Name: "tool_call", Detail: "mail.send", Attempt: 2, Decision: allowed}, nil),
		record(host.EntryFence, "", host.Fence{Clean: true}, nil),
		record(host.EntryFence, "", host.Fence{}, nil),
		record(host.EntryStart, "", host.Started{}, nil),
		record(host.EntryFence, "", host.Fence{}, nil),
		record(host.EntryUnknown, "1/3", host.Outcome{Name: "tool_call"}, nil),
		record(host.EntryEnd, "", host.Ended{Status: host.TurnDone, Calls: 3, Usage: abi.Usage{InputTokens: 30, OutputTokens: 5, CostMicros: 1500}}, abi.Reply{Content: []abi.Content{abi.Text("a test\x1b]0;x\x07")}}),
		record(host.EntryAccepted, "", host.Accepted{}, nil),
		record(host.EntryFence, "", host.Fence{}, nil),
		record(host.EntryPark, "", host.Parked{Reason: "three crashes"}, nil),
		record(host.EntryResume, "", host.Resumed{By: apitest.Caller, Note: "looked\nat it"}, nil),
		record(host.EntryApproval, "2/1", host.Approval{Path: "2/1", ID: "hmac:a1", Status: host.ApprovalPending, Note: "payments need a person"}, nil),
		record(host.EntryWait, "", host.Waits{Waiting: []abi.Wait{{Type: abi.EventApproval, Name: "hmac:a1"}}}, nil),
		record(host.EntryApproval, "2/1", host.Approval{Path: "2/1", ID: "hmac:a1", Status: host.ApprovalGranted, By: "world"}, nil),
		record(host.EntryApproval, "2/2", host.Approval{Path: "2/2", ID: "hmac:a2", Status: host.ApprovalExpired}, nil),
		record(host.EntrySettle, "1/3", host.Settlement{Path: "1/3", Outcome: host.SettledNot, Note: "asked them", By: apitest.Caller}, nil),
		record(host.EntryMigrate, "", host.Migrated{From: "sha256:77", To: "sha256:78", Mode: host.UpgradeReplay, By: apitest.Caller}, nil),
		record(host.EntryErase, "", host.Erased{By: apitest.Caller}, nil),
		record(host.EntryFence, "", host.Fence{Clean: true}, nil),
	}
	for i := range records {
		records[i].Seq, records[i].Turn = uint64(i+1), 1+i/12
	}
	return records[min(from-1, uint64(len(records))):], nil
}

func record(kind host.EntryKind, path string, body, payload any) host.Record {
	r := host.Record{Entry: host.Entry{Kind: kind, Path: path, Time: apitest.Epoch}}
	r.Body = mustJSON(body)
	if payload != nil {
		r.Payload = mustJSON(payload)
	}
	return r
}

func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// Builtin returns an empty module.
func (d *desk) Builtin(name string) ([]byte, error) {
	if !slices.Contains(d.Builtins(), name) {
		return nil, fmt.Errorf("there is no plugin %s", name)
	}
	return []byte("\x00asm\x01\x00\x00\x00"), nil
}
