package cli

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// TestSessionHead: a status that needs somebody comes with why, and with what to do.
func TestSessionHead(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)
	waits := []abi.Wait{{Type: abi.EventApproval, Name: "-a", At: at}, {Type: abi.EventSignal, Name: "go"}, {Type: abi.EventTimer, At: at}}
	for name, tc := range map[string]struct {
		session host.Session
		want    string
	}{
		"idle":       {host.Session{Status: host.SessionIdle}, ""},
		"waiting":    {host.Session{Status: host.SessionWaiting}, "waiting: it waits for the next message\n"},
		"erased":     {host.Session{Status: host.SessionErased, Reason: "three crashes"}, "erased: what was said and read in it is gone, its record remains\n"},
		"parked":     {host.Session{Status: host.SessionParked, Reason: "three\x1b[2J crashes"}, "parked: three[2J crashes\nlet it go on: vespiary sessions resume S1\n"},
		"was parked": {host.Session{Status: host.SessionRunning, Ended: 1}, ""},
		"suspended": {
			host.Session{Status: host.SessionSuspended, Ended: 1, Waiting: waits, Expires: at.Add(time.Hour)},
			`suspended: turn 2 waits for approval -a until 2030-01-02 03:04:05 or signal go or timer at 2030-01-02 03:04:05
the time of its task is up at 2030-01-02 04:04:05
send it: vespiary sessions signal S1 go
see its arguments: vespiary approvals show -- -a
let it be made: vespiary approvals grant -- -a
or do not: vespiary approvals deny -- -a
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := tc.session
			s.ID, s.Agent, s.Module, s.Created = "S1", "a", "sha256:00", at
			newHistoryView(&runner{out: printer{&out}}, false).head(s)
			_, got, _ := strings.Cut(out.String(), "module sha256:00\n")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestShortDigest(t *testing.T) {
	for digest, want := range map[string]string{
		"sha256:0123456789abcdef": "sha256:0123456789ab…",
		"sha256:0123456789ab":     "sha256:0123456789ab",
		"01M87EKW15EQCENC9B9XGB":  "01M87EKW15EQCENC9B9XGB",
		"":                        "",
	} {
		if got := shortDigest(digest); got != want {
			t.Errorf("%s: %s, want %s", digest, got, want)
		}
	}
}

// TestOperand: what a shell makes of a command that is shown is the text itself, whatever
// an agent has called a signal.
func TestOperand(t *testing.T) {
	for _, text := range []string{
		"go", "go on", "-l-gk-24", "--", "it's", "'", "$(id)", "`id`", "a;b", `back\slash`, "*", "~", "!x", `"`, "ü", "#", "- '", "",
	} {
		typed := operand(text)
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "for a; do :; done; set -- "+typed+`; printf '%s\n' "$@"`, "sh").Output()
		if err != nil {
			t.Fatalf("%s: %v", typed, err)
		}
		if got := strings.TrimSuffix(string(out), "\n"); got != text && got != "--\n"+text {
			t.Errorf("%q is typed as %s and comes as %q", text, typed, got)
		}
	}
}

// TestWakes: no command is shown for a name that nobody could type.
func TestWakes(t *testing.T) {
	waits := []abi.Wait{
		{Type: abi.EventSignal, Name: "go"},
		{Type: abi.EventSignal},
		{Type: abi.EventSignal, Name: "a\nb"},
		{Type: abi.EventSignal, Name: "a\x1b[2J"},
		{Type: abi.EventTimer, Name: "t"},
	}
	if diff := cmp.Diff([]string{"send it: vespiary sessions signal S1 go"}, wakes("S1", waits)); diff != "" {
		t.Error(diff)
	}
}
