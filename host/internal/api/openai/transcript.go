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
	said string // of the call, as the client heard it
}

// add takes in text of a call and returns what to say.
func (t *transcript) add(call, text string) string {
	if call != t.call {
		t.call, t.text, t.said = call, "", ""
		if t.any && text != "" {
			text = gap + text
		}
	}
	t.text += text
	return t.catchUp()
}

// reset notes that the call runs again: its text is void.
func (t *transcript) reset() { t.text = "" }

// catchUp returns what the client lacks of the call's text. After a reset that is
// nothing while the new attempt repeats the old, and all of it once it differs.
func (t *transcript) catchUp() string {
	if strings.HasPrefix(t.said, t.text) {
		return ""
	}
	rest, continues := strings.CutPrefix(t.text, t.said)
	if !continues {
		rest = gap + t.text
	}
	t.said = t.text
	t.any = true
	return rest
}

// finish returns what the reply adds to what was said: most agents reply with the
// text that they have streamed.
func (t *transcript) finish(reply string) string {
	heard := strings.TrimPrefix(t.said, gap)
	if rest, ok := strings.CutPrefix(reply, heard); ok {
		return rest
	}
	if strings.HasSuffix(heard, reply) {
		return ""
	}
	return gap + reply
}
