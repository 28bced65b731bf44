//go:build linux || darwin

package runtime

import "testing"

func freed(i *nativeInstance) bool { return i.memory.(*counted).LinearMemory.(*mapping).b == nil }

func TestMapping(t *testing.T) {
	m := newMemory(0, 1<<20)
	b := m.Reallocate(1 << 16)
	b[0] = 7
	if grown := m.Reallocate(1 << 20); grown[0] != 7 || &grown[0] != &b[0] || len(grown) != 1<<20 {
		t.Error("growing moved the memory")
	}
	if m.Reallocate(1<<20+1) != nil {
		t.Error("memory grew beyond its limit")
	}
	m.Free()
	m.Free()
}
