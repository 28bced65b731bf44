package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

const conversation = "conversation"

// turn is the handling of one event. The host may run it again from its start,
// with the same answers to the same host calls, so it keeps nothing elsewhere.
type turn struct {
	c        *vespiary.Context
	event    abi.Event
	settings settings
	now      func() time.Time
	deadline time.Time // zero for none

	tools  []abi.Tool
	view   []abi.Message // what the model sees
	fresh  []abi.Message // this turn's messages that are not in memory yet
	tokens int64
}

func (t *turn) run() (abi.Reply, error) {
	if err := t.begin(); err != nil {
		return abi.Reply{}, err
	}
	content, err := t.converse()
	if saveErr := t.save(); err == nil {
		err = saveErr
	}
	return abi.Reply{Content: content}, err
}

// begin takes up the conversation and records the event, so that what the caller
// said is kept even if the turn fails.
func (t *turn) begin() error {
	opening, err := openingOf(t.event)
	if err != nil {
		return err
	}
	history, err := vespiary.Window[abi.Message](t.c, conversation, t.settings.Window)
	if err != nil {
		return err
	}
	if len(history) == 0 {
		history = t.event.History
		t.fresh = append(t.fresh, history...)
	}
	t.view = newest(history, t.settings.Window, t.settings.WindowChars/2)
	t.add(opening)
	if err := t.save(); err != nil {
		return err
	}
	if t.tools, err = t.c.Tools(); errors.Is(err, &abi.Error{Code: abi.CodeDenied}) {
		t.c.Warnf("the agent runs without tools: %v", err)
		return nil
	}
	return err
}

// openingOf is the event as a message to the model.
func openingOf(e abi.Event) (abi.Message, error) {
	m := abi.Message{Role: abi.RoleUser, Content: e.Content}
	if e.Type != abi.EventMessage {
		text := fmt.Sprintf("[%s %s]", e.Type, e.Name)
		if len(e.Data) > 0 {
			text += "\n" + string(e.Data)
		}
		m.Content = append([]abi.Content{abi.Text(text)}, e.Content...)
	}
	if len(m.Content) == 0 {
		return m, &abi.Error{Code: abi.CodeInvalid, Message: "the message has no content"}
	}
	return m, nil
}

func (t *turn) add(messages ...abi.Message) {
	t.view = append(t.view, messages...)
	t.fresh = append(t.fresh, messages...)
}

func (t *turn) save() error {
	if len(t.fresh) == 0 {
		return nil
	}
	items := make([]any, len(t.fresh))
	for i, m := range t.fresh {
		items[i] = m
	}
	err := t.c.Append(conversation, items...)
	t.fresh = nil
	return err
}

// converse alternates between model and tools until the model answers.
func (t *turn) converse() ([]abi.Content, error) {
	for step := 1; ; step++ {
		if limit := t.spent(step); limit != "" {
			return t.conclude(limit)
		}
		m, finish, err := t.ask(t.limited(), t.tools, "")
		if errors.Is(err, &abi.Error{Code: abi.CodeTimeout}) && t.late() {
			return t.conclude(t.timeLimit())
		}
		if err != nil {
			return nil, err
		}
		if len(m.ToolCalls) == 0 {
			return t.final(m, finish)
		}
		calls := m.ToolCalls
		m.ToolCalls = wellFormed(calls)
		t.add(append([]abi.Message{m}, t.perform(calls)...)...)
	}
}

// final adds the model's answer to the conversation and returns its content.
func (t *turn) final(m abi.Message, finish abi.Finish) ([]abi.Content, error) {
	if len(m.Content) == 0 {
		return nil, &abi.Error{Code: abi.CodeUnavailable, Message: fmt.Sprintf("the model gave no answer (it stopped for %q); try again", finish)}
	}
	t.add(m)
	return m.Content, nil
}

// ask calls the model. A note is said to it after all else and not recorded.
func (t *turn) ask(c *vespiary.Context, tools []abi.Tool, note string) (abi.Message, abi.Finish, error) {
	t.view = shrink(t.view, t.settings.WindowChars)
	var messages []abi.Message
	if t.event.Agent.Instructions != "" {
		messages = append(messages, text(abi.RoleSystem, t.event.Agent.Instructions))
	}
	messages = append(messages, t.view...)
	if note != "" {
		messages = append(messages, text(abi.RoleUser, note))
	}
	r, err := c.Chat(abi.ChatRequest{Model: t.event.Agent.Model, Messages: messages, Tools: tools, Stream: true})
	t.tokens += r.Usage.InputTokens + r.Usage.OutputTokens
	r.Message.Role = abi.RoleAssistant
	return r.Message, r.Finish, err
}

func text(role abi.Role, s string) abi.Message {
	return abi.Message{Role: role, Content: []abi.Content{abi.Text(s)}}
}

// spent names the limit that leaves room for no more than a last answer, or
// returns "". The last of the model calls is that answer, so that the limit of
// steps is kept.
func (t *turn) spent(step int) string {
	switch {
	case step >= t.settings.maxSteps && step > 1:
		return fmt.Sprintf("%d model calls", t.settings.maxSteps)
	case t.settings.MaxTokens > 0 && t.tokens >= t.settings.MaxTokens:
		return fmt.Sprintf("%d tokens", t.settings.MaxTokens)
	case t.late():
		return t.timeLimit()
	}
	return ""
}

func (t *turn) timeLimit() string { return fmt.Sprintf("%g seconds", t.settings.MaxSeconds) }

func (t *turn) late() bool { return !t.deadline.IsZero() && !t.now().Before(t.deadline) }

// limited ends the calls of a turn with its time.
func (t *turn) limited() *vespiary.Context {
	if t.deadline.IsZero() {
		return t.c
	}
	return t.c.WithTimeout(max(t.deadline.Sub(t.now()), time.Millisecond))
}

// conclude asks for an answer without tools once a limit is reached.
func (t *turn) conclude(limit string) ([]abi.Content, error) {
	note := fmt.Sprintf("[This turn has reached its limit of %s. Answer now, without tools, with what you know, and say what is left undone.]", limit)
	m, finish, err := t.ask(t.c, nil, note)
	m.ToolCalls = nil
	var content []abi.Content
	if err == nil {
		content, err = t.final(m, finish)
	}
	if err != nil {
		why := fmt.Sprintf("I stopped at this turn's limit of %s without an answer.", limit)
		return []abi.Content{abi.Text(why)}, fmt.Errorf("limit of %s reached, and the last answer failed: %w", limit, err)
	}
	return content, nil
}
