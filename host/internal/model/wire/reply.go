package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/abi"
)

// Reply is an answer that a dialect has read to its end.
type Reply struct {
	Model   string // as the server names it; may be empty
	Text    string
	Refusal string // the model's words for not answering
	Calls   []Call
	Finish  abi.Finish // "" is decided by the content
	Tokens  *Tokens    // nil where the server does not count
}

// Call is a tool call as a dialect has it. Args is the JSON text that the model
// wrote; empty means no arguments.
type Call struct{ ID, Name, Args string }

// Finish turns a reply into the abi's response: it maps tool names back, checks
// that arguments are objects, gives calls without an id one that is unique in
// the conversation, and counts and prices the tokens. Where the server did not
// count, the counts are those of [Estimate], because a budget that counts
// nothing never ends.
func (c *Client) Finish(r Request, names Names, reply Reply) (abi.ChatResponse, error) {
	message := abi.Message{Role: abi.RoleAssistant}
	if text := reply.Text + reply.Refusal; text != "" {
		message.Content = []abi.Content{abi.Text(text)}
	}
	for i, call := range reply.Calls {
		args, err := c.arguments(call, reply.Finish)
		if err != nil {
			return abi.ChatResponse{}, err
		}
		if call.ID == "" {
			call.ID = "call_" + strconv.Itoa(len(r.Messages)) + "_" + strconv.Itoa(i)
		}
		message.ToolCalls = append(message.ToolCalls, abi.ToolCall{ID: call.ID, Name: names.In(call.Name), Arguments: args})
	}
	return abi.ChatResponse{
		Message:  message,
		Finish:   reply.finish(),
		Model:    orText(reply.Model, c.cfg.Model),
		Provider: c.cfg.Provider,
		Usage:    c.cfg.Price.Usage(reply.tokens(r)),
	}, nil
}

// Price returns the usage of a call that has no reply, such as embeddings.
func (c *Client) Price(t Tokens) abi.Usage { return c.cfg.Price.Usage(t) }

// arguments refuses what is not an object instead of repairing it: a guessed
// argument is a call that nobody asked for.
func (c *Client) arguments(call Call, finish abi.Finish) (json.RawMessage, error) {
	text := bytes.TrimSpace([]byte(call.Args))
	if len(text) == 0 || string(text) == "null" {
		return json.RawMessage("{}"), nil
	}
	if text[0] == '{' && json.Valid(text) {
		return text, nil
	}
	f := &failure{
		verdict: verdict{code: abi.CodeUnavailable, retryable: true, advice: "ask again, or use a model that is better at calling tools"},
		what:    "the arguments that the model wrote for the tool " + clean(call.Name) + " are not a JSON object",
	}
	if finish == abi.FinishLength {
		f.verdict = verdict{code: abi.CodeInvalid, advice: "raise max_tokens"}
		f.what = "the answer was cut off in the middle of a call of the tool " + clean(call.Name)
	}
	return nil, c.fail(f)
}

// finish corrects servers that say "stop" although they call tools or refuse.
func (r Reply) finish() abi.Finish {
	switch {
	case r.Finish == abi.FinishLength:
		return r.Finish
	case r.Refusal != "":
		return abi.FinishRefusal
	case len(r.Calls) > 0:
		return abi.FinishTools
	case r.Finish == "" || r.Finish == abi.FinishTools:
		return abi.FinishStop
	default:
		return r.Finish
	}
}

func (r Reply) tokens(req Request) Tokens {
	if r.Tokens != nil {
		return *r.Tokens
	}
	t := Tokens{Input: EstimateRequest(req), Output: Estimate(r.Text + r.Refusal)}
	for _, call := range r.Calls {
		t.Output += Estimate(call.Name) + Estimate(call.Args)
	}
	return t
}

func orText(s, otherwise string) string {
	if strings.TrimSpace(s) == "" {
		return otherwise
	}
	return s
}
