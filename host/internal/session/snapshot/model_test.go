package snapshot_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session/snapshot"
)

// TestAgainstAModel stores, prunes, drops and reads at random, and compares with a list
// of what was stored.
func TestAgainstAModel(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &model{w: newWorld(t), r: rand.New(rand.NewPCG(seed, 1)), pages: map[uint32]string{}}
			for range 120 {
				m.step(t)
				m.check(t)
			}
		})
	}
}

type model struct {
	w     *world
	r     *rand.Rand
	seq   uint64
	pages map[uint32]string // of the guest
	kept  []snapshot.Taken
}

func (m *model) step(t *testing.T) {
	t.Helper()
	switch n := m.r.IntN(20); {
	case n < 11:
		m.change()
		m.seq += 1 + m.r.Uint64N(5)
		next := taken(m.seq, image(maps.Clone(m.pages)))
		m.w.put(t, next)
		m.kept = append(m.kept, next)
	case n < 13: // a crash between Put and its commit
		m.change()
		m.seq++
		if _, err := m.w.Put(t.Context(), "t", "s", taken(m.seq, image(m.pages))); err != nil {
			t.Fatal(err)
		}
	case n < 14: // a Prune in between
		m.change()
		m.seq++
		next := taken(m.seq, image(maps.Clone(m.pages)))
		s, err := m.w.Put(t.Context(), "t", "s", next)
		if err != nil {
			t.Fatal(err)
		}
		m.prune(t)
		m.w.commit(t, s.Ops)
		m.kept = append(m.kept, next)
	case n < 18:
		m.prune(t)
	default:
		after := m.seq - min(m.seq, m.r.Uint64N(12))
		m.w.drop(t, after)
		for len(m.kept) > 0 && m.kept[len(m.kept)-1].Seq > after {
			m.kept = m.kept[:len(m.kept)-1]
		}
	}
}

func (m *model) prune(t *testing.T) {
	t.Helper()
	keep := 1 + m.r.IntN(3)
	m.w.prune(t, keep)
	m.kept = m.kept[max(0, len(m.kept)-keep):]
}

// change makes some pages new, like others, as they once were, or like the base.
func (m *model) change() {
	count := m.r.IntN(20)
	if m.r.IntN(8) == 0 {
		count = m.r.IntN(400)
	}
	for range count {
		n := m.r.Uint32N(500)
		switch m.r.IntN(6) {
		case 0:
			delete(m.pages, n)
		case 1:
			m.pages[n] = fmt.Sprint("common ", m.r.IntN(5))
		default:
			m.pages[n] = fmt.Sprint(m.r.Uint64())
		}
	}
}

func (m *model) check(t *testing.T) {
	t.Helper()
	upTo := m.seq + 1 - m.r.Uint64N(m.seq+2)
	if m.r.IntN(2) == 0 {
		upTo = m.seq
	}
	var want *snapshot.Taken
	for i := range m.kept {
		if m.kept[i].Seq <= upTo {
			want = &m.kept[i]
		}
	}
	same(t, fmt.Sprintf("up to %d of %d", upTo, m.seq), want, m.w.newest(t, upTo))
	if n := len(m.w.scan(t, "m/")); n != len(m.kept) {
		t.Fatalf("%d snapshots are stored, not %d", n, len(m.kept))
	}
}

// TestSpaceIsBounded runs a session for long and looks at what it takes.
func TestSpaceIsBounded(t *testing.T) {
	m := &model{w: newWorld(t), r: rand.New(rand.NewPCG(7, 7)), pages: map[uint32]string{}}
	for seq := range uint64(100) {
		m.change()
		i := image(m.pages)
		m.w.put(t, taken(seq+1, i))
		m.w.prune(t, 1)
		if n, limit := len(m.w.scan(t, "p/")), len(i.Pages)/32+8; n > limit {
			t.Fatalf("after %d turns %d pages lie in %d packs, more than %d", seq+1, len(i.Pages), n, limit)
		}
	}
}

// BenchmarkPut stores 400 pages, all of them or the 50 that changed, and commits.
func BenchmarkPut(b *testing.B) {
	b.Run("all", func(b *testing.B) { benchPut(b, 400) })
	b.Run("50 changed", func(b *testing.B) { benchPut(b, 50) })
}

func benchPut(b *testing.B, changed int) {
	b.Helper()
	w := newWorld(b)
	r := rand.New(rand.NewPCG(1, 1))
	i := heap(r, 400)
	w.put(b, taken(1, i))
	var written, seq int64 = 0, 1
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		touch(r, i.Pages, changed)
		if seq++; seq%16 == 0 {
			w.prune(b, 2)
		}
		b.StartTimer()
		written += w.put(b, taken(uint64(seq), i)).Bytes
	}
	b.ReportMetric(float64(written)/float64(b.N), "bytes/op")
}

// BenchmarkNewest reads images that took 20 turns to become what they are.
func BenchmarkNewest(b *testing.B) {
	for _, pages := range []int{400, 16000} {
		b.Run(fmt.Sprint(pages), func(b *testing.B) {
			w := newWorld(b)
			r := rand.New(rand.NewPCG(1, 1))
			i := heap(r, pages)
			for seq := range uint64(20) {
				w.put(b, taken(seq+1, i))
				touch(r, i.Pages, 50)
			}
			w.prune(b, 2)
			w = w.reopen(b)
			b.ReportAllocs()
			for b.Loop() {
				if t := w.newest(b, 100); len(t.Image.Pages) != pages {
					b.Fatal(len(t.Image.Pages))
				}
			}
		})
	}
}

// heap makes pages that compress to about a quarter, as those of a Go guest do.
func heap(r *rand.Rand, pages int) host.Image {
	i := host.Image{Base: "b", Size: 64 << 20}
	for n := range pages {
		data := make([]byte, host.ImagePageSize)
		copy(data, noise(r)[:host.ImagePageSize/4])
		i.Pages = append(i.Pages, host.ImagePage{Number: uint32(n), Data: data})
	}
	return i
}

func touch(r *rand.Rand, pages []host.ImagePage, n int) {
	for _, at := range r.Perm(len(pages))[:n] {
		copy(pages[at].Data, noise(r)[:host.ImagePageSize/4])
	}
}
