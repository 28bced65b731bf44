package offline

import (
	"fmt"
	"strconv"
	"strings"
)

// answer renders what the turn found out, clause by clause.
func (p plan) answer() string {
	var parts []string
	for _, c := range p.evidence() {
		parts = append(parts, p.section(c)...)
	}
	parts = append(parts, p.saved()...)
	if len(parts) == 0 {
		parts = append(parts, p.lost(p.turn.question))
	}
	return strings.Join(parts, "\n\n")
}

// section renders one clause: what failed in the tool's own words, then
// quotations, or that there are none.
func (p plan) section(c clause) []string {
	s := p.step(c)
	var parts []string
	for _, o := range s.done {
		if o.failed {
			parts = append(parts, o.failure())
		}
	}
	quotes := p.quotes(c, s)
	switch {
	case len(quotes) > 0:
		return append(parts, quotes...)
	case s.lost:
		return append(parts, p.lost(c.text))
	case len(parts) == 0:
		return append(parts, nothing(c, s))
	default:
		return parts
	}
}

// failure repeats the tool's words in quotation marks: they may come from anywhere.
func (o *outcome) failure() string {
	on := ""
	if place := o.place(); place != "" {
		on = " for " + place
	}
	return fmt.Sprintf("The tool %s did not do it%s. It says: %s", o.tool, on, strconv.Quote(o.message()))
}

// lost names the tools there were, so that the person can ask for what they do.
func (p plan) lost(question string) string {
	question = strings.TrimSpace(question)
	if len(p.tools) == 0 {
		return fmt.Sprintf("I was offered no tools, so I have nothing to quote about %q.", question)
	}
	names := make([]string, len(p.tools))
	for i, t := range p.tools {
		names[i] = t.name
	}
	return fmt.Sprintf("None of the tools that I was offered (%s) fits %q.", strings.Join(names, ", "), question)
}

// nothing says which words were looked for, and where.
func nothing(c clause, s step) string {
	var asked []string
	for _, o := range s.done {
		asked = append(asked, o.tool)
	}
	return fmt.Sprintf("I found no passage about %q in what %s returned.", first(join(c.words), c.text), strings.Join(distinctNames(asked), " and "))
}

func distinctNames(in []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range in {
		if !seen[s] {
			out = append(out, s)
			seen[s] = true
		}
	}
	return out
}

// quotes returns the quotations for a clause, each under a line with its source.
func (p plan) quotes(c clause, s step) []string {
	var out []string
	switch {
	case s.whole:
		for _, o := range s.done {
			if text := o.whole(); !o.failed && text != "" {
				out = append(out, "From "+o.tool+":", quote(limitLines(text)))
			}
		}
	case len(c.words) == 0, c.intent == intentRead && c.points():
		for _, o := range s.done {
			out = append(out, o.head()...)
		}
	default:
		for _, q := range best(passages(s.done), c.words, c.why) {
			q = q.shorten(c.words)
			out = append(out, "From "+q.source()+":", quote(q.text))
		}
	}
	return out
}

// maxHead is how many bytes of a file are quoted where the question says nothing
// about what to look for.
const maxHead = 1500

// head quotes the beginning of what a call returned.
func (o *outcome) head() []string {
	var out []string
	for _, r := range o.records() {
		if o.failed || strings.TrimSpace(r.text) == "" {
			continue
		}
		text, more := strings.TrimRight(r.text, "\n"), ""
		if len(text) > maxHead {
			end := maxHead
			if nl := strings.LastIndex(text[:end], "\n"); nl > 0 {
				end = nl
			}
			more = fmt.Sprintf(", the first %d of %d bytes", end, len(r.text))
			text = strings.ToValidUTF8(text[:end], "")
		}
		return append(out, "From "+first(r.path, o.tool)+more+":", quote(text))
	}
	return out
}

// source names the file and line of a passage, or the tool where there is no file.
func (p passage) source() string {
	out := first(p.path, p.tool)
	if p.path != "" && p.line > 0 {
		out += ":" + strconv.Itoa(p.line)
	}
	if p.heading != "" && p.heading != p.path {
		out += " (" + p.heading + ")"
	}
	return out
}

func limitLines(text string) string {
	lines := strings.Split(text, "\n")
	if len(lines) <= maxQuoted {
		return text
	}
	return strings.Join(lines[:maxQuoted], "\n") + fmt.Sprintf("\n… (%d more lines)", len(lines)-maxQuoted)
}

func quote(text string) string {
	return "> " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n> ")
}

// note is the text to save: the quotations with their sources, or "" where there
// are none.
func (p plan) note() string {
	var parts []string
	for _, c := range p.evidence() {
		if quotes := p.quotes(c, p.step(c)); len(quotes) > 0 {
			parts = append(parts, "# "+strings.TrimSpace(c.text))
			parts = append(parts, quotes...)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, "\n\n") + "\n"
}

// saved tells what became of a request to save.
func (p plan) saved() []string {
	c, asked := p.saveClause()
	if !asked {
		return nil
	}
	t, offered := p.pick(roleWrite, c)
	if !offered {
		return []string{"No tool that writes was offered, so nothing was saved."}
	}
	calls := p.turn.ofTool(t.name)
	switch {
	case len(calls) == 0:
		return []string{"There was nothing to save, so " + t.name + " was not called."}
	case calls[0].failed:
		return []string{calls[0].failure()}
	default:
		return []string{fmt.Sprintf("Saved to %s with %s.", first(calls[0].place(), "its place"), t.name)}
	}
}
