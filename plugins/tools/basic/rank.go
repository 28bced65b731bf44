package main

import (
	"cmp"
	"math"
	"slices"
)

// BM25's usual constants, and how many times a word of a heading or a file's name
// counts.
const (
	saturation   = 1.2
	lengthWeight = 0.75
	titleWeight  = 3
)

// found is a passage and how well it fits; scores compare within one search only.
type found struct {
	passage
	score float64
}

// document is a passage as a bag of words.
type document struct {
	counts map[string]int
	length int
}

func documentOf(p passage) document {
	d := document{counts: map[string]int{}}
	d.add(p.text, 1)
	d.add(p.heading+" "+p.path, titleWeight)
	return d
}

func (d *document) add(text string, weight int) {
	for _, term := range terms(text) {
		d.counts[term] += weight
		d.length += weight
	}
}

// rank returns the best passages for the words of query by BM25. A passage with
// few of several words is ranked lower than BM25 does alone. The order is total:
// equal scores go by path and line.
func rank(passages []passage, query string, limit int) []found {
	wanted := slices.Compact(slices.Sorted(slices.Values(terms(query))))
	documents := make([]document, len(passages))
	frequency := map[string]int{}
	total := 0
	for i, p := range passages {
		documents[i] = documentOf(p)
		total += documents[i].length
		for _, term := range wanted {
			if documents[i].counts[term] > 0 {
				frequency[term]++
			}
		}
	}
	average := float64(total) / float64(max(len(passages), 1))
	var out []found
	for i, d := range documents {
		if s := score(d, wanted, frequency, len(passages), average); s > 0 {
			out = append(out, found{passages[i], s})
		}
	}
	slices.SortFunc(out, func(a, b found) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.path, b.path), cmp.Compare(a.line, b.line))
	})
	return out[:min(len(out), limit)]
}

// score is rounded, so that the order does not hang on how a processor fuses
// floating-point operations.
func score(d document, wanted []string, frequency map[string]int, n int, average float64) float64 {
	sum, matched := 0.0, 0
	for _, term := range wanted {
		count := float64(d.counts[term])
		if count == 0 {
			continue
		}
		matched++
		df := float64(frequency[term])
		rarity := math.Log(1 + (float64(n)-df+0.5)/(df+0.5))
		sum += rarity * count * (saturation + 1) / (count + saturation*(1-lengthWeight+lengthWeight*float64(d.length)/average))
	}
	if matched == 0 {
		return 0
	}
	return math.Round(1000*sum*(0.5+0.5*float64(matched)/float64(len(wanted)))) / 1000
}
