package journal_test

import (
	"strings"
	"testing"

	"github.com/vespiary/vespiary/host"
)

func BenchmarkAppend(b *testing.B) {
	prose := `{"ok":{"text":"` + strings.Repeat("The wasp builds a nest of paper, cell by cell, and guards it. ", 40)
	for name, payload := range map[string]string{
		"100B": prose[:98] + `"}}`,
		"300B": prose[:298] + `"}}`,
		"2KB":  prose[:2046] + `"}}`,
	} {
		b.Run(name, func(b *testing.B) {
			bn := open(b, b.TempDir())
			l := bn.create(b)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := l.Append(b.Context(), host.Entry{Kind: host.EntryResult, Turn: 1, Path: "1/1"}, host.Outcome{Name: "x"}, []byte(payload)); err != nil {
					b.Fatal(err)
				}
				if i++; i%1000 == 0 {
					b.StopTimer()
					commit(b, l)
					b.StartTimer()
				}
			}
		})
	}
}
