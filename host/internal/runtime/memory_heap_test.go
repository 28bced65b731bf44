package runtime

import "testing"

func TestHeapMemory(t *testing.T) {
	m := &heapMemory{limit: 1 << 20}
	m.Reallocate(1 << 16)[0] = 7
	if b := m.Reallocate(1 << 20); b[0] != 7 || len(b) != 1<<20 || b[1<<20-1] != 0 {
		t.Error("growing lost bytes")
	}
	if m.Reallocate(1<<20+1) != nil {
		t.Error("memory grew beyond its limit")
	}
	m.Free()
}
