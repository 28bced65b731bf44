package journal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/policy"
)

// writer writes texts of n bytes.
type writer func(n int) string

var vocabulary = strings.Fields(`a about after again agent all also an and answer any are as ask at be because been before
	being between both but by call can cell change check code colony could day do does done each end even every file find
	first for from get give go good guard had has have he her here him his how if in into is it its just keep kind know
	last leave let like line list little long look made make many may me mean men might mind model more most much must my
	name nest never new next no not now number of off old on one only open or order other our out over own page paper part
	people place plan point put queen question read result right run said same say see set she should show side since so
	some still such take tell than that the their them then there these they thing think this those three through time to
	too tool turn two under up use very wait want was wasp way we well went were what when where which while who why will
	wing with word work world would write year yet you your`)

// prose writes words by their rank, as languages use them: a text of its own each time.
func prose(seed uint64) writer {
	r := rand.New(rand.NewPCG(seed, 1))
	z := rand.NewZipf(r, 1.2, 4, uint64(len(vocabulary)-1))
	order := r.Perm(len(vocabulary))
	return func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			b.WriteString(vocabulary[order[z.Uint64()]])
			if b.WriteByte(' '); r.IntN(12) == 0 {
				b.WriteString("\"so <it> is\".\n")
			}
		}
		return b.String()[:n]
	}
}

func noise(seed uint64) writer {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	return func(n int) string {
		b := make([]byte, n)
		_, _ = r.Read(b)
		return base64.StdEncoding.EncodeToString(b)[:n]
	}
}

// agent writes the journal of an agent that keeps its conversation in working memory, as
// the session and the gate write it.
type agent struct {
	tb       testing.TB
	log      *journal.Log
	turn     int
	call     int
	messages []json.RawMessage
	told     int // bytes of distinct messages
	request  int // bytes of the requests to the model
}

func (a *agent) add(kind host.EntryKind, path string, body, payload any) {
	a.tb.Helper()
	p, ok := payload.([]byte)
	if !ok {
		p = encoded(a.tb, payload)
	}
	if _, err := a.log.Append(a.tb.Context(), host.Entry{Kind: kind, Turn: a.turn, Path: path}, body, p); err != nil {
		a.tb.Fatal(err)
	}
}

func (a *agent) do(name, action string, request, answer any) {
	a.tb.Helper()
	a.call++
	path := fmt.Sprintf("%d/%d", a.turn, a.call)
	in, ok := request.([]byte)
	if !ok {
		in = encoded(a.tb, request)
	}
	out, ok := answer.([]byte)
	if !ok {
		out = encoded(a.tb, answer)
	}
	hash, digest := a.log.Hash(in), "sha256:"+strings.Repeat("0123456789abcdef", 4)
	label := abi.Label{Integrity: abi.Trusted, Sources: []string{"user:owner"}}
	a.add(host.EntryIntent, path, host.Intent{
		Name: name, Hash: hash, Action: action, Resource: policy.UID{Type: "MemorySpace", ID: "session/01J8ZQ4V5W6X7Y8Z9A0B1C2D3E"},
		Detail: "session/01J8ZQ4V5W6X7Y8Z9A0B1C2D3E", Kind: host.Observe, Recovery: abi.RecoverTxn, Key: "01J8ZQ4V5W6X7Y8Z9A0B1C2D3E.0." + path,
		Attempt: 1, Run: "01J8ZQ4V5W6X7Y8Z9A0B1C2D3F", Module: digest, Flow: label,
		Decision: policy.Decision{Allowed: true, Policies: []policy.Cause{{ID: "agents-may-remember", File: "base.cedar", Line: 12}}, Set: digest},
	}, in)
	a.add(host.EntryResult, path, host.Outcome{Name: name, Hash: hash, Took: 123456, Label: label}, slices.Concat([]byte(`{"ok":`), out, []byte("}")))
}

func (a *agent) remember(m abi.Message) json.RawMessage {
	a.tb.Helper()
	raw := encoded(a.tb, m)
	a.messages = append(a.messages, raw)
	a.told += len(raw)
	return raw
}

// list is what json.Marshal makes of the messages, which it would check again each time.
func (a *agent) list() []byte {
	var b bytes.Buffer
	for i, m := range a.messages {
		b.WriteByte("[,"[min(i, 1)])
		b.Write(m)
	}
	if b.Len() == 0 {
		b.WriteByte('[')
	}
	b.WriteByte(']')
	return b.Bytes()
}

func encoded(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func text(role abi.Role, s string) abi.Message {
	return abi.Message{Role: role, Content: []abi.Content{{Type: "text", Text: s}}}
}

// converse adds a turn: the event, the conversation read, what is new in it remembered,
// the model asked, and its answer remembered and given.
func (a *agent) converse(question, reply string) {
	a.tb.Helper()
	a.turn++
	a.call = 0
	event := abi.Event{Type: abi.EventMessage, Content: []abi.Content{{Type: "text", Text: question}}}
	a.add(host.EntryAccepted, "", host.Accepted{Task: "01J8ZQ4V5W6X7Y8Z9A0B1C2D3G", Caller: host.Caller{Tenant: "t", User: "owner"}}, event)
	event.Session, event.Task, event.Turn = "01J8ZQ4V5W6X7Y8Z9A0B1C2D3E", "01J8ZQ4V5W6X7Y8Z9A0B1C2D3G", a.turn
	event.Agent = abi.Binding{Name: "assistant", Instructions: "You are a helpful assistant of the colony.", Model: "default"}
	a.add(host.EntryStart, "", host.Started{Task: event.Task, Module: "sha256:" + strings.Repeat("0123456789abcdef", 4), Attempt: 1}, event)
	a.do(abi.CallMemorySession, "memoryRead", abi.SessionMemory{Op: "window", Key: "chat", Limit: 1000}, slices.Concat([]byte(`{"items":`), a.list(), []byte("}")))
	asked := a.remember(text(abi.RoleUser, question))
	a.do(abi.CallMemorySession, "memoryWrite", abi.SessionMemory{Op: "append", Key: "chat", Items: []json.RawMessage{asked}}, struct{}{})
	a.ask(reply)
	a.do(abi.CallMemorySession, "memoryWrite", abi.SessionMemory{Op: "append", Key: "chat", Items: a.messages[len(a.messages)-1:]}, struct{}{})
	a.add(host.EntryEnd, "", host.Ended{Task: event.Task, Status: host.TurnDone}, abi.Reply{Content: []abi.Content{{Type: "text", Text: reply}}, Status: abi.StatusDone})
	commit(a.tb, a.log)
}

// ask adds a call to the model.
func (a *agent) ask(reply string) {
	a.tb.Helper()
	in := slices.Concat([]byte(`{"model":"default","messages":`), a.list(), []byte(`,"stream":true}`))
	a.request += len(in)
	answer := text(abi.RoleAssistant, reply)
	a.do(abi.CallModelChat, "chat", in, abi.ChatResponse{Message: answer, Finish: abi.FinishStop, Model: "m-2026", Provider: "offline", Usage: abi.Usage{InputTokens: int64(len(in) / 4)}})
	a.remember(answer)
}

// stored is how many bytes of keys and values the journal of s1 takes.
func (b *bench) stored(t *testing.T) (n int) {
	t.Helper()
	for _, prefix := range journal.Prefixes("t", "s1") {
		for _, item := range b.scan(t, string(prefix)) {
			n += len(item.Key) + len(item.Value)
		}
	}
	return n
}

// TestALongConversationIsStoredOnce bounds what a conversation of 100 turns costs, with
// messages of 2 KB that occur in seven payloads each and then in every later request.
func TestALongConversationIsStoredOnce(t *testing.T) {
	for name, c := range map[string]struct {
		say   writer
		plain bool
		limit float64
	}{
		"prose":               {say: prose(1), limit: 1.9},
		"noise":               {say: noise(1), limit: 2.5},
		"noise, uncompressed": {say: noise(1), plain: true, limit: 3},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, t.TempDir())
			if c.plain {
				b.keys.Uncompressed()
			}
			a := &agent{tb: t, log: b.create(t)}
			for range 100 {
				a.converse(c.say(2<<10), c.say(2<<10))
			}
			n := b.stored(t)
			ratio := float64(n) / float64(a.told)
			t.Logf("%d bytes of messages, %d of requests: %d bytes stored, %.2f times", a.told, a.request, n, ratio)
			if ratio > c.limit {
				t.Errorf("the journal is %.2f times its messages, want at most %.2f", ratio, c.limit)
			}
			file := b.export(t, "s1")
			t.Logf("%d bytes exported", len(file))
			if len(file) > n {
				t.Errorf("an export takes %d bytes, the journal %d", len(file), n)
			}
			if v, err := b.journals.Verify(t.Context(), "t", "s1"); err != nil || v.Entries != 1101 {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

// TestAHundredModelCallsStayUnderTheWall has the sizes of a conversation that full
// histories end at their limit of 50 MB: 822 KB at the beginning, 5 KB more with each of
// 100 calls, 109 MB of requests in all. Its text hardly compresses.
func TestAHundredModelCallsStayUnderTheWall(t *testing.T) {
	b := open(t, t.TempDir())
	a := &agent{tb: t, log: b.create(t), turn: 1}
	say := noise(2)
	for range 200 {
		a.remember(text(abi.RoleUser, say(4<<10)))
	}
	for range 100 {
		a.remember(text(abi.RoleUser, say(2<<10)))
		a.ask(say(3 << 10))
		commit(t, a.log)
	}
	n := b.stored(t)
	t.Logf("%d bytes of messages, %d of requests: %d bytes stored", a.told, a.request, n)
	if n > 1_500_000 {
		t.Errorf("the journal takes %d bytes, want at most 1,500,000", n)
	}
}
