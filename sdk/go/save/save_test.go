package save_test

import (
	"strings"
	"testing"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
	"github.com/vespiary/vespiary/sdk/go/migrate"
	"github.com/vespiary/vespiary/sdk/go/save"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

// The agent of this package has no state, so that nothing fits it.
var (
	_ = vespiary.Agent(func(*vespiary.Context, abi.Event) (abi.Reply, error) { return vespiary.Done("yes"), nil })
	_ = save.State(func(*int) (int, error) { return 1, nil })
	_ = migrate.State(func(*int, abi.Migration, int) error { return nil })
)

func TestStateOfAnotherType(t *testing.T) {
	h := vespiarytest.New(t)
	_, saving := h.Save()
	for export, err := range map[string]error{"save: ": saving, "migrate: ": h.Migrate(abi.Migration{State: []byte("1")})} {
		if err == nil || !strings.HasPrefix(err.Error(), export) || !strings.Contains(err.Error(), "register the agent with vespiary.AgentOf") {
			t.Errorf("%sgot %v", export, err)
		}
	}
	if r := h.Send(abi.Event{Type: abi.EventMessage}); abi.TextOf(r.Content) != "yes" {
		t.Errorf("the reply is %+v", r)
	}
}
