package main

import (
	"fmt"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

func TestGreeterCountsVisits(t *testing.T) {
	h := vespiarytest.New(t)
	for visit := range 3 {
		r := h.Send(abi.Event{Type: abi.EventMessage, Content: []abi.Content{abi.Text("hi")}, Caller: abi.Caller{ID: "owner"}})
		want := fmt.Sprintf("Hello, owner! This is visit %d.", visit+1)
		if got := abi.TextOf(r.Content); got != want || r.Status != abi.StatusDone {
			t.Errorf("got %q, %s", got, r.Status)
		}
	}
}
