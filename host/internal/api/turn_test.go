package api_test

import (
	"slices"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
)

func TestWaitsFor(t *testing.T) {
	for _, c := range []struct {
		turn host.Turn
		want []string
	}{
		{host.Turn{Status: host.TurnQueued}, []string{"its start"}},
		{host.Turn{Status: host.TurnRunning}, []string{"the agent"}},
		{host.Turn{Status: host.TurnWaiting}, []string{"the next event"}},
		{host.Turn{Status: host.TurnDone}, nil},
		{host.Turn{Status: host.TurnFailed}, nil},
		{host.Turn{Status: host.TurnRunning, Waiting: []abi.Wait{
			{Type: abi.EventApproval, Name: "pay", At: apitest.Epoch},
			{Type: abi.EventTimer, At: apitest.Epoch},
			{Type: abi.EventTimer, Name: "t", After: time.Minute},
		}}, []string{`approval "pay" until 2030-01-02T03:04:05Z`, "timer at 2030-01-02T03:04:05Z", `timer "t" after 1m0s`}},
	} {
		if got := api.WaitsFor(c.turn); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.turn, got, c.want)
		}
	}
}
