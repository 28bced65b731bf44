package crashtest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// office is everybody outside of the host who works with it: clients with messages and
// signals, somebody who answers questions, and somebody who looks after parked sessions.
// What it was told, it remembers.
type office struct {
	c     *client
	close chan struct{} // closed when nothing new is to be begun

	mu       sync.Mutex
	sessions map[string]*session
	answers  map[string]bool // to questions, by session and turn
	parks    int
	odd      []string // what should not have been seen
}

// session is what a client knows of one.
type session struct {
	id     string
	rounds []*round
}

// round is an acknowledged message, and the signal that its turn waits for.
type round struct {
	turn   int
	signal string
	extra  int // the signal's own turn
}

func newOffice(c *client) *office {
	return &office{c: c, close: make(chan struct{}), sessions: map[string]*session{}, answers: map[string]bool{}}
}

func (o *office) closed() bool {
	select {
	case <-o.close:
		return true
	default:
		return false
	}
}

// complain notes what should not have been seen.
func (o *office) complain(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.odd = append(o.odd, fmt.Sprintf(format, args...))
}

// roundsEach is how many messages a session gets.
const roundsEach = 6

// work has clients work until the office closes and all that they began is over.
func (o *office) work(ctx context.Context, clients int) {
	var drivers, clerks sync.WaitGroup
	over, stop := context.WithCancel(ctx)
	clerks.Go(func() { repeat(over, 100*time.Millisecond, o.answerQuestions) })
	clerks.Go(func() { repeat(over, 200*time.Millisecond, o.resumeParked) })
	for i := range clients {
		drivers.Go(func() {
			for n := 0; !o.closed() && ctx.Err() == nil; n++ {
				if err := o.drive(ctx, fmt.Sprintf("client-%d-%d", i, n)); err != nil {
					o.complain("%v", err)
				}
			}
		})
	}
	drivers.Wait()
	stop()
	clerks.Wait()
}

// begun returns when some turn is over: by then the module is compiled.
func (o *office) begun(ctx context.Context) {
	for ctx.Err() == nil {
		list, err := get[struct{ Sessions []host.Session }](ctx, o.c, "/v1/sessions")
		if err != nil || slices.ContainsFunc(list.Sessions, func(s host.Session) bool { return s.Ended > 0 }) {
			return
		}
		wait(ctx, pause)
	}
}

// repeat calls f until ctx ends.
func repeat(ctx context.Context, every time.Duration, f func(context.Context)) {
	for ctx.Err() == nil {
		f(ctx)
		wait(ctx, every)
	}
}

// drive takes one session through its rounds, two of which are often queued at once.
func (o *office) drive(ctx context.Context, name string) error {
	s := &session{}
	for n := 1; n <= roundsEach && !o.closed(); n++ {
		r := &round{}
		text := "do a round"
		if n%3 == 0 {
			r.signal = fmt.Sprintf("go-%d", n)
			text = "wait for " + r.signal
		}
		turn, err := o.invoke(ctx, fmt.Sprintf("%s-%d", name, n), s.id, text)
		if err != nil {
			return err
		}
		r.turn = turn.Number
		o.mu.Lock()
		s.id, s.rounds = turn.Session, append(s.rounds, r)
		o.sessions[s.id] = s
		o.mu.Unlock()
		if r.signal != "" {
			if err := o.wake(ctx, s, r); err != nil {
				return err
			}
		}
		if n%2 == 0 {
			if err := o.await(ctx, s.id, r.turn); err != nil {
				return err
			}
			wait(ctx, time.Duration(hash(s.id)%4)*250*time.Millisecond) // so that some sessions leave the memory
		}
	}
	for _, r := range s.rounds {
		if err := o.await(ctx, s.id, r.turn); err != nil {
			return err
		}
	}
	return nil
}

// post sends what has an idempotency key until it is acknowledged. A parked session takes
// nothing until somebody has resumed it.
func (o *office) post(ctx context.Context, path, key string, body map[string]any) (host.Turn, error) {
	for {
		var turn host.Turn
		a, err := o.c.call(ctx, http.MethodPost, path, body, "Idempotency-Key", key, "Prefer", "respond-async")
		if err != nil {
			return turn, fmt.Errorf("POST %s (%s): %w", path, key, err)
		}
		if a.status == http.StatusConflict && strings.Contains(string(a.body), "is parked") {
			wait(ctx, pause)
			continue
		}
		if err := a.into(&turn); err != nil {
			return turn, fmt.Errorf("POST %s (%s): %w", path, key, err)
		}
		return turn, nil
	}
}

func (o *office) invoke(ctx context.Context, key, session, text string) (host.Turn, error) {
	body := map[string]any{"content": text}
	if session != "" {
		body["session"] = session
	}
	return o.post(ctx, "/v1/agents/clerk/invocations", key, body)
}

func (o *office) wake(ctx context.Context, s *session, r *round) error {
	turn, err := o.post(ctx, "/v1/sessions/"+s.id+"/signals", s.id+r.signal, map[string]any{"name": r.signal})
	r.extra = turn.Number
	return err
}

// await returns when a turn is over. That of a parked session is not.
func (o *office) await(ctx context.Context, session string, turn int) error {
	path := fmt.Sprintf("/v1/sessions/%s/turns/%d", session, turn)
	for {
		t, err := get[host.Turn](ctx, o.c, path, "Prefer", "wait=2")
		if err != nil || t.Status.Over() {
			return err
		}
		wait(ctx, 2*pause)
	}
}

// mark names a turn.
func mark(session string, turn int) string { return fmt.Sprintf("%s/%d", session, turn) }

// answerQuestions grants most of what is asked, each after a while of its own, and denies
// the rest.
func (o *office) answerQuestions(ctx context.Context) {
	var list struct{ Approvals []host.Approval }
	a, err := o.c.once(ctx, http.MethodGet, "/v1/approvals?limit=1000", nil)
	if err != nil || a.into(&list) != nil {
		return // the host is down; there is another time
	}
	for _, q := range list.Approvals {
		seed := hash(q.ID)
		if time.Since(q.Asked) < time.Duration(seed%8)*150*time.Millisecond {
			continue
		}
		grant := seed%5 != 0
		o.mu.Lock()
		o.answers[mark(q.Session, q.Turn)] = grant // whether or not the acknowledgement will arrive
		o.mu.Unlock()
		a, err := o.c.once(ctx, http.MethodPost, "/v1/approvals/"+url.PathEscape(q.ID), map[string]any{"grant": grant})
		if err == nil && a.status != http.StatusOK && a.status < http.StatusInternalServerError {
			o.complain("answer approval %s: %d %s", q.ID, a.status, a.body)
		}
	}
}

// crashes is why a session may be parked: more than three times where the host died once
// more before it was on record.
var crashes = regexp.MustCompile(`the host crashed [0-9]+ times in a row during turn`)

// resumeParked lets sessions go on that too many hosts in a row have died with, and no
// other ones.
func (o *office) resumeParked(ctx context.Context) {
	var list struct{ Sessions []host.Session }
	a, err := o.c.once(ctx, http.MethodGet, "/v1/sessions?status=parked&limit=1000", nil)
	if err != nil || a.into(&list) != nil {
		return
	}
	for _, s := range list.Sessions {
		if !crashes.MatchString(s.Reason) {
			o.complain("session %s is parked: %s", s.ID, s.Reason)
			continue
		}
		a, err := o.c.once(ctx, http.MethodPost, "/v1/sessions/"+s.ID+"/resume", map[string]string{"note": "it was not to blame"})
		if err == nil && a.status == http.StatusOK {
			o.mu.Lock()
			o.parks++
			o.mu.Unlock()
		}
	}
}

// report is what the guest replies; see testdata/guest.
type report struct {
	Rounds  int
	Log     []int
	Lines   int
	Turns   int
	Thrown  string
	Slept   bool
	Signal  string
	Errands []errand
}

type errand struct {
	Step string
	Hits int
	Code abi.Code
}
