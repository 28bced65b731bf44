// Command go is the test guest in Go. Every test guest exports the same
// functions, so that one suite runs them all.
package main

import (
	"crypto/rand"
	"encoding/binary"
	"os"
	"strconv"
	"time"
)

func main() {}

var calls int

//go:wasmexport echo
func echo() int32 {
	output(input())
	return 0
}

//go:wasmexport work
func work() int32 {
	output(load(toolCall(store(input()))))
	return 0
}

//go:wasmexport config
func config() int32 {
	output(load(configGet(store(input()))))
	return 0
}

//go:wasmexport remember
func remember() int32 {
	old := load(varGet(store([]byte("last"))))
	value := uint64(0)
	if in := input(); len(in) > 0 {
		value = store(in)
	}
	varSet(store([]byte("last")), value)
	output(old)
	return 0
}

//go:wasmexport logs
func logs() int32 {
	in := input()
	logTrace(store(in))
	logDebug(store(in))
	logInfo(store(in))
	logWarn(store(in))
	logError(store(in))
	output([]byte(strconv.Itoa(int(logLevel()))))
	return 0
}

//go:wasmexport fail
func fail() int32 {
	errorSet(store(input()))
	return 1
}

//go:wasmexport softfail
func softfail() int32 {
	errorSet(store(input()))
	return 0
}

//go:wasmexport code
func code() int32 { return 7 }

//go:wasmexport state
func state() int32 {
	calls++
	output([]byte(strconv.Itoa(calls)))
	return 0
}

//go:wasmexport fetch
func fetch() int32 {
	body := load(httpRequest(store(input()), store([]byte("ping"))))
	out := append([]byte(strconv.Itoa(int(httpStatus()))), ' ')
	out = append(append(out, load(httpHeaders())...), ' ')
	output(append(out, body...))
	return 0
}

//go:wasmexport widths
func widths() int32 {
	off := alloc(17)
	storeU64(off+1, 0x0807060504030201)
	storeU8(off+9, 0x1ff)
	storeU64(off, loadU64(off)^loadU64(off+2))
	out := make([]byte, 0, 64)
	for i := uint64(0); i < 17; i++ {
		out = append(out, byte(loadU8(off+i)))
	}
	out = binary.LittleEndian.AppendUint64(out, length(off))
	out = binary.LittleEndian.AppendUint64(out, lengthUnsafe(off))
	out = binary.LittleEndian.AppendUint64(out, length(off+1))
	out = binary.LittleEndian.AppendUint64(out, length(0))
	out = binary.LittleEndian.AppendUint64(out, alloc(0))
	free(off)
	free(off)
	out = binary.LittleEndian.AppendUint64(out, length(off))
	output(out)
	return 0
}

//go:wasmexport churn
func churn() int32 {
	n := binary.LittleEndian.Uint64(input())
	for i := range n {
		off := alloc(100 + i%1000)
		if off == 0 {
			return 1
		}
		free(off)
	}
	return 0
}

var kept [][]byte

//go:wasmexport grow
func grow() int32 {
	b := make([]byte, binary.LittleEndian.Uint64(input()))
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	kept = append(kept, b)
	output([]byte("ok"))
	return 0
}

//go:wasmexport spin
func spin() int32 {
	for x := uint32(1); ; x = x*1664525 + 1013904223 {
		if x == 0 && calls < 0 {
			return 0
		}
	}
}

//go:wasmexport trap
func trap() int32 { panic("boom") }

//go:wasmexport recurse
func recurse() int32 { return deeper(1) }

//go:noinline
func deeper(n int32) int32 { return deeper(n+1) + n }

//go:wasmexport exit
func exit() int32 {
	output([]byte("bye"))
	code, _ := strconv.Atoi(string(input()))
	os.Exit(code)
	return 0
}

//go:wasmexport say
func say() int32 {
	os.Stdout.WriteString("out " + string(input()) + "\n")
	os.Stderr.WriteString("err " + string(input()) + "\n")
	return 0
}

//go:wasmexport clock
func clock() int32 {
	start := time.Now()
	time.Sleep(3 * time.Second)
	var b [8]byte
	rand.Read(b[:])
	out := start.UTC().Format(time.RFC3339) + " " + time.Since(start).String() + " "
	for _, x := range b {
		out += strconv.Itoa(int(x)) + ","
	}
	output([]byte(out))
	return 0
}
