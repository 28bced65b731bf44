package main

import (
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

func TestHello(t *testing.T) {
	r := vespiarytest.New(t).CallTool("hello", person{Name: "Owner"})
	if got := abi.TextOf(r.Content); got != "Hello, Owner!" || r.IsError {
		t.Errorf("got %q", got)
	}
}
