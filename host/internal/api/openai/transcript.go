package openai

import "strings"

// gap separates texts that do not continue one another.
const gap = "\n\n"

// transcript decides what of an agent's text is still to be said to a client that
// has heard part of it and cannot be told to forget: chunks have no way back. The
// zero value has said nothing.
type transcript struct {
	any  bool   // something was said
	call string // that said the newest text
	text string // of the call, as its newest attempt has it
	said string // of the call, as the client heard it last
}

// add takes in text of a call and returns what to say.
func (t *transcript) add(call, text string) string {
	if text == "" {
		return ""
	}
	if call != t.call {
		t.call, t.text, t.said = call, "", ""
	}
	t.text += text
	return t.catchUp()
}

// reset notes that the call runs again: its text is void.
func (t *transcript) reset(call string) {
	if call == t.call {
		t.text = ""
	}
}

// catchUp returns what the client lacks of the call's text. After a reset that is
// nothing while the new attempt repeats the old, and all of it once it differs.
func (t *transcript) catchUp() string {
	if strings.HasPrefix(t.said, t.text) {
		return ""
	}
	rest, continues := strings.CutPrefix(t.text, t.said)
	if !continues || t.said == "" {
		rest = t.apart(t.text)
	}
	t.said, t.any = t.text, true
	return rest
}

// finish returns what the reply adds to what was said: most agents reply with the
// text that they have streamed.
func (t *transcript) finish(reply string) string {
	if strings.HasSuffix(t.said, reply) {
		return ""
	}
	if rest, ok := strings.CutPrefix(reply, t.said); ok && t.said != "" {
		return rest
	}
	return t.apart(reply)
}

// apart sets text off from what was said before it.
func (t *transcript) apart(text string) string {
	if t.any {
		return gap + text
	}
	return text
}
