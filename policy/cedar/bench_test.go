package cedar

import (
	"testing"
)

func BenchmarkAuthorizeStarter(b *testing.B) {
	engine := New(starterSet(b))
	r := ask("fileRead", file("a", "docs", true, true), base(nil))
	if d := engine.Authorize(b.Context(), r); !d.Allowed {
		b.Fatal(d)
	}
	b.ReportAllocs()
	for b.Loop() {
		engine.Authorize(b.Context(), r)
	}
}

func BenchmarkConvert(b *testing.B) {
	set := starterSet(b)
	r := ask("fileRead", file("a", "docs", true, true), base(nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, faults := set.words.query(r); len(faults) > 0 {
			b.Fatal(faults)
		}
	}
}
