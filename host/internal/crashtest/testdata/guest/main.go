// Command clerk is an agent that does a round of errands for every message, in the
// world named by its option, and replies with a report of what came of each.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

var _ = vespiary.AgentOf((*clerk).handle)

// clerk is what the agent keeps in its own memory between turns.
type clerk struct {
	rounds int
	turns  map[int]string // what was thrown in each turn
}

// options are the agent's settings in the host's configuration.
type options struct {
	World string        `json:"world"` // base URL
	Nap   time.Duration `json:"nap_ns"`
}

// report is the reply. Rounds, Log, Lines and Turns are four ways to count the rounds: in
// memory, in the session's working memory, in its workspace, and in memory by turn.
type report struct {
	Rounds  int      `json:"rounds"`
	Log     []int    `json:"log"`
	Lines   int      `json:"lines"`
	Turns   int      `json:"turns"`
	Thrown  string   `json:"thrown"`
	Slept   bool     `json:"slept"`
	Signal  string   `json:"signal,omitempty"` // that a round waited for
	Errands []errand `json:"errands"`
}

// errand is what came of one call: the world's answer, or a code.
type errand struct {
	Step string   `json:"step"`
	Hits int      `json:"hits,omitempty"` // by the world's count
	Code abi.Code `json:"code,omitempty"`
}

func (k *clerk) handle(c *vespiary.Context, e abi.Event) (abi.Reply, error) {
	if e.Type != abi.EventMessage {
		return vespiary.Done("not waited for: " + e.Name), nil
	}
	var o options
	if err := json.Unmarshal(e.Agent.Options, &o); err != nil {
		return abi.Reply{}, err
	}
	r, err := k.round(c, &round{o, e, fmt.Sprintf("%016x", rand.Uint64())})
	if err != nil {
		return abi.Reply{}, err
	}
	b, err := json.Marshal(r)
	return vespiary.Done(string(b)), err
}

// round is one message with what names its errands.
type round struct {
	options
	event  abi.Event
	thrown string // a number that must be the same when the turn runs again
}

func (k *clerk) round(c *vespiary.Context, r *round) (*report, error) {
	if k.turns == nil {
		k.turns = map[int]string{}
	}
	k.rounds++
	k.turns[r.event.Turn] = r.thrown
	out := &report{Rounds: k.rounds, Turns: len(k.turns), Thrown: r.thrown}
	if err := c.EmitText("round " + r.thrown); err != nil {
		return nil, err
	}
	if err := c.Append("rounds", r.event.Turn); err != nil {
		return nil, err
	}
	out.Errands = append(out.Errands, r.send(c, "keyed", "keyed-0"), r.send(c, "once", "once-0"))
	out.Errands = append(out.Errands, r.together(c)...)
	if err := r.rest(c, out); err != nil {
		return nil, err
	}
	out.Errands = append(out.Errands, r.file(c))
	return out, k.count(c, out)
}

// together runs errands at the same time, in an order that Go's maps choose.
func (r *round) together(c *vespiary.Context) []errand {
	kinds := map[string]string{"keyed-1": "keyed", "once-1": "once", "once-2": "once", "look-1": "look"}
	var steps []string
	for step := range kinds {
		steps = append(steps, step)
	}
	out, errs := vespiary.All(c, steps, func(c *vespiary.Context, step string) (errand, error) {
		return r.send(c, kinds[step], step), nil
	})
	for i, err := range errs {
		if err != nil {
			out[i] = errand{Step: steps[i], Code: codeOf(err)}
		}
	}
	return out
}

// send makes one request to the world. One that is safe to repeat is, when its answer was
// lost.
func (r *round) send(c *vespiary.Context, kind, step string) errand {
	request := abi.HTTPRequest{
		Method: "POST", Body: r.thrown,
		URL: fmt.Sprintf("%s/%s/%s/%d/%s", r.World, kind, r.event.Session, r.event.Turn, step),
	}
	switch kind {
	case "keyed":
		request.Headers = map[string]string{"Idempotency-Key": step + "-" + r.thrown}
	case "look":
		request.Method, request.Body = "GET", ""
	}
	for try := 0; ; try++ {
		response, err := c.Fetch(request)
		if e, ok := errors.AsType[*abi.Error](err); ok && e.Retryable && kind != "once" && try < 5 {
			continue
		}
		if err != nil {
			return errand{Step: step, Code: codeOf(err)}
		}
		out := errand{Step: step}
		if _, err := fmt.Sscan(response.Body, &out.Hits); err != nil || response.Status != 200 {
			out.Code = abi.CodeInternal
		}
		return out
	}
}

// rest waits for a timer, and for the signal that the message names.
func (r *round) rest(c *vespiary.Context, out *report) error {
	nap := r.Nap
	if r.event.Turn%2 == 0 {
		nap *= 3
	}
	before := time.Now()
	if err := c.Sleep(nap); err != nil {
		return err
	}
	out.Slept = time.Since(before) >= nap
	name, wants := strings.CutPrefix(abi.TextOf(r.event.Content), "wait for ")
	if !wants {
		return nil
	}
	e, err := c.Await(abi.Wait{Type: abi.EventSignal, Name: name})
	out.Signal = e.Name
	return err
}

// file adds a line to a file of the workspace, which takes an approval.
func (r *round) file(c *vespiary.Context) errand {
	out := errand{Step: "file"}
	_, err := c.WriteFile(abi.FileWrite{Path: "rounds.txt", Text: r.thrown + "\n", Append: true})
	out.Code = codeOf(err)
	return out
}

// count reads what the rounds so far have left on record.
func (k *clerk) count(c *vespiary.Context, out *report) error {
	var err error
	if out.Log, err = vespiary.Window[int](c, "rounds", 0); err != nil {
		return err
	}
	f, err := c.ReadFile(abi.FileRead{Path: "rounds.txt"})
	if err != nil && codeOf(err) != abi.CodeNotFound {
		return err
	}
	out.Lines = strings.Count(f.Text, "\n")
	return nil
}

func codeOf(err error) abi.Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*abi.Error](err); ok {
		return e.Code
	}
	return abi.CodeInternal
}

func main() {}
