package offline

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strings"
)

// passage is a quotable piece of a record: a paragraph, or sentences of a long one.
type passage struct {
	path    string
	tool    string
	line    int
	heading string
	text    string
	score   float64
	result  int // which call returned it
	order   int
}

const (
	maxPassage  = 600 // bytes of one quotation
	maxPassages = 3

	maxCandidates = 5000 // passages that are compared with each other
	maxQuoted     = 60   // lines of a result that is quoted as a whole
)

// passages cuts what calls returned into paragraphs, each once: where a search
// hit is a part of a paragraph that was read, the paragraph stands for both.
func passages(outcomes []*outcome) []passage {
	var out []passage
	for i, o := range outcomes {
		if o.failed {
			continue
		}
		for _, r := range o.records() {
			for _, p := range paragraphs(r) {
				p.tool, p.result, p.order = o.tool, i, len(out)
				out = append(out, p)
			}
		}
	}
	return distinct(out[:min(len(out), maxCandidates)])
}

// paragraphs splits a record at blank lines. A Markdown heading is no paragraph
// but stands over those that follow; an item of a list and a row of a table are
// paragraphs of their own; a fenced block is kept in one piece.
func paragraphs(r record) []passage {
	s := splitter{heading: r.heading, path: r.path, line: r.line}
	if s.line == 0 && strings.Count(r.text, "\n") > 1 {
		s.line = 1
	}
	fenced := false
	for line := range strings.Lines(r.text) {
		text := strings.TrimRight(line, " \t\r\n")
		fence := strings.HasPrefix(strings.TrimSpace(text), "```")
		heading := markdownHeading.FindStringSubmatch(text)
		switch {
		case fence:
			fenced = !fenced
			s.add(text)
		case fenced:
			s.add(text)
		case text == "":
			s.end()
		case heading != nil:
			s.end()
			s.heading = heading[1]
		case item.MatchString(text):
			s.end()
			s.add(text)
		default:
			s.add(text)
		}
		s.at++
	}
	s.end()
	return s.out
}

var item = regexp.MustCompile(`^\s{0,6}([-*+]\s|\d{1,3}[.)]\s|\|)`)

var markdownHeading = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)

// splitter collects the lines of paragraphs and remembers where each began.
type splitter struct {
	path, heading string
	line          int // of the record's first line; 0 if not known
	at            int // lines read
	begun         int
	lines         []string
	out           []passage
}

func (s *splitter) add(line string) {
	if len(s.lines) == 0 {
		s.begun = s.at
	}
	s.lines = append(s.lines, line)
}

func (s *splitter) end() {
	if len(s.lines) == 0 {
		return
	}
	p := passage{path: s.path, heading: s.heading, text: strings.Join(s.lines, "\n")}
	if s.line > 0 {
		p.line = s.line + s.begun
	}
	s.out = append(s.out, p)
	s.lines = nil
}

// distinct drops passages that stand twice, or within one of another result.
func distinct(in []passage) []passage {
	flat, seen := make([]string, len(in)), map[string]bool{}
	for i, p := range in {
		flat[i] = strings.Join(strings.Fields(p.text), " ")
	}
	var out []passage
	for i, p := range in {
		key := p.path + "\x00" + flat[i]
		if seen[key] {
			continue
		}
		seen[key] = true
		within := func(q passage) bool {
			return q.result != p.result && q.path == p.path && len(flat[q.order]) > len(flat[i]) &&
				strings.Contains(flat[q.order], flat[i])
		}
		if !slices.ContainsFunc(in, within) {
			out = append(out, p)
		}
	}
	return out
}

// best returns the passages that match the words best, best first. Rare words
// count more, words of the heading a little less than those of the text, and
// passages that have more of the words more than those that repeat one.
func best(in []passage, about []word, why bool) []passage {
	query := distinctStems(about)
	weights := rarity(in, query)
	var out []passage
	for _, p := range in {
		if p.score = p.rate(query, weights, why); p.score > 0 {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b passage) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.order, b.order))
	})
	end := 0
	for end < len(out) && end < maxPassages && out[end].score >= out[0].score*0.6 {
		end++
	}
	return out[:end]
}

func distinctStems(about []word) []string {
	var out []string
	for _, w := range about {
		if !slices.Contains(out, w.stem) {
			out = append(out, w.stem)
		}
	}
	return out
}

// rarity weighs each word by how few passages have it.
func rarity(in []passage, query []string) map[string]float64 {
	seen := map[string]float64{}
	for _, p := range in {
		has := stems(p.heading + "\n" + p.text)
		for _, q := range query {
			if has[q] {
				seen[q]++
			}
		}
	}
	out := map[string]float64{}
	for _, q := range query {
		out[q] = math.Log(1 + (float64(len(in))+1)/(seen[q]+0.5))
	}
	return out
}

var reasons = regexp.MustCompile(`(?i)\b(because|since|therefore|so that|reason|in order to|otherwise|would|which is why)\b`)

// rate sums up the weights of the words that the passage has. It takes up to half
// off where few of them are there, and something off a long passage, which has
// words by chance. A reason counts a little more where one is asked.
func (p passage) rate(query []string, weights map[string]float64, why bool) float64 {
	text, heading := stems(p.text), stems(p.heading)
	var sum float64
	found := 0
	for _, q := range query {
		switch {
		case text[q]:
			sum += weights[q]
			found++
		case heading[q]:
			sum += 0.8 * weights[q]
			found++
		}
	}
	if found == 0 {
		return 0
	}
	sum *= 0.5 + 0.5*float64(found)/float64(len(query))
	sum /= 0.75 + float64(len(p.text))/1600
	if why && reasons.MatchString(p.text) {
		sum *= 1.2
	}
	return sum
}

var sentenceEnd = regexp.MustCompile(`[.!?]["')\]]*\s+`)

// shorten cuts a long passage to the sentences around the best one. Where
// something is left out stands "…".
func (p passage) shorten(about []word) passage {
	if len(p.text) <= maxPassage {
		return p
	}
	sentences := splitSentences(p.text)
	from := bestSentence(sentences, distinctStems(about))
	to, size := from+1, len(sentences[from])
	for to < len(sentences) && size+len(sentences[to]) <= maxPassage {
		size += len(sentences[to])
		to++
	}
	for from > 0 && size+len(sentences[from-1]) <= maxPassage {
		from--
		size += len(sentences[from])
	}
	return p.window(sentences, from, to)
}

// window keeps some of the sentences, and the line number of the first of them.
func (p passage) window(sentences []string, from, to int) passage {
	skipped := strings.Join(sentences[:from], "")
	if p.line > 0 {
		p.line += strings.Count(skipped, "\n")
	}
	p.text = strings.TrimSpace(strings.Join(sentences[from:to], ""))
	if len(p.text) > 2*maxPassage { // one endless sentence
		p.text = strings.ToValidUTF8(p.text[:2*maxPassage], "") + " …"
	}
	if from > 0 {
		p.text = "… " + p.text
	}
	if to < len(sentences) {
		p.text += " …"
	}
	return p
}

// bestSentence returns the first sentence with the most of the words.
func bestSentence(sentences, query []string) int {
	top, at := -1, 0
	for i, s := range sentences {
		has, n := stems(s), 0
		for _, q := range query {
			if has[q] {
				n++
			}
		}
		if n > top {
			top, at = n, i
		}
	}
	return at
}

func splitSentences(text string) []string {
	var out []string
	start := 0
	for _, m := range sentenceEnd.FindAllStringIndex(text, -1) {
		out = append(out, text[start:m[1]])
		start = m[1]
	}
	if start < len(text) {
		out = append(out, text[start:])
	}
	return out
}
