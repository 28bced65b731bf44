package tool

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

// maxName is the length that model providers take, as they take only the letters of
// validName.
const maxName = 64

var (
	validName   = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	invalidName = regexp.MustCompile(`[^a-zA-Z0-9_-]+`)
)

// visibleName is the name under which agents see a tool: its own where that already
// says which source it is of, and otherwise with the source's name in front.
func visibleName(source, own string) string {
	name := own
	if own != source && !strings.HasPrefix(own, source+"_") {
		name = source + "_" + own
	}
	if validName.MatchString(name) {
		return name
	}
	return distinctName(invalidName.ReplaceAllString(name, "_"), source+"."+own)
}

// distinctName makes name differ from the names of all other tools.
func distinctName(name, id string) string {
	sum := sha256.Sum256([]byte(id))
	mark := "_" + hex.EncodeToString(sum[:4])
	return name[:min(len(name), maxName-len(mark))] + mark
}

// maxNear is how many names an error proposes.
const maxNear = 5

// near returns the names that are most like name, best first.
func near(name string, names []string) []string {
	sorted := slices.Clone(names)
	slices.SortStableFunc(sorted, func(a, b string) int {
		return cmp.Compare(distance(name, a), distance(name, b))
	})
	return sorted[:min(len(sorted), maxNear)]
}

// distance is the number of bytes to insert, remove or replace to make b of a. Names
// are cut to what a valid one can have, as the work grows with the product.
func distance(a, b string) int {
	a, b = a[:min(len(a), maxName)], b[:min(len(b), maxName)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
