//go:build !linux && !darwin

package runtime

func freed(i *nativeInstance) bool { return i.memory.(*counted).LinearMemory.(*heapMemory).b == nil }
