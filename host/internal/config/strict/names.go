package strict

import (
	"reflect"
	"slices"
	"strings"
)

// fields is what a struct's tags say.
type fields struct {
	names    []string
	required []string
	index    map[string]int
}

func fieldsOf(t reflect.Type) fields {
	f := fields{index: map[string]int{}}
	for i := range t.NumField() {
		name, option, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		f.names = append(f.names, name)
		f.index[name] = i
		if option == "required" {
			f.required = append(f.required, name)
		}
	}
	return f
}

// nearest returns the known name that key most likely stands for, or "".
func nearest(key string, known []string) string {
	best, limit := "", max(1, len(key)/3)+1
	for _, k := range known {
		if n := distance(strings.ToLower(key), k); n < limit {
			best, limit = k, n
		}
	}
	return best
}

// distance is the least number of inserted, removed, replaced and swapped bytes
// that turn a into b (optimal string alignment).
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, up := rows[i%3], rows[(i+2)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			row[j] = min(row[j-1]+1, up[j]+1, up[j-1]+differ(a[i-1], b[j-1]))
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], rows[(i+1)%3][j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}

func differ(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}

// Nearest says which of the known names a person may have meant by name: "did
// you mean X?", or what there is.
func Nearest(name string, known []string) string {
	switch near := nearest(name, known); {
	case near != "":
		return "did you mean " + near + "?"
	case len(known) == 0:
		return "there is none"
	default:
		return "there is " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
	}
}
