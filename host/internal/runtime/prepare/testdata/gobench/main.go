// Workloads in Go, as in bench.c.
package main

import "encoding/json"

func main() {}

//go:wasmimport host noop
func noop(uint64) uint64

//go:wasmexport arithmetic
func arithmetic(n uint64) uint64 {
	x := uint64(88172645463325252)
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

//go:wasmexport sieve
func sieve(n uint64) uint64 {
	count := uint64(0)
	to := make([]bool, 1<<18)
	for range n {
		for i := range to {
			to[i] = true
		}
		for i := 2; i*i < len(to); i++ {
			if to[i] {
				for k := i * i; k < len(to); k += i {
					to[k] = false
				}
			}
		}
		for _, prime := range to {
			if prime {
				count++
			}
		}
	}
	return count
}

//go:noinline
func fib(n uint64) uint64 {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

//go:wasmexport recursion
func recursion(n uint64) uint64 { return fib(n) }

//go:wasmexport hostcalls
func hostcalls(n uint64) (a uint64) {
	for range n {
		a = noop(a)
	}
	return a
}

//go:wasmexport json
func roundTrips(n uint64) uint64 {
	v := map[string]any{"a": []any{1.0, "two", true, nil}, "b": map[string]any{"c": "d"}}
	size := 0
	for range n {
		b, err := json.Marshal(v)
		if err != nil || json.Unmarshal(b, &v) != nil {
			panic(err)
		}
		size += len(b)
	}
	return uint64(size)
}
