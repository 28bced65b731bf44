package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

func (r *runner) demoCommand() *cobra.Command {
	dir := "demo"
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show what the host does: an agent, its tools, a denial, a crash",
		Long: `Set up a host in a folder, ask its agent about the project's own documents, see a
call denied, kill the host in the middle of a turn and see the turn finish. The
folder stays, to go on in. With OPENAI_API_KEY, ANTHROPIC_API_KEY or OLLAMA_HOST
set, that model answers; without one, a stand-in that quotes.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{runner: r, dir: dir, now: time.Now} //nolint:forbidigo // what it times is the real thing
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", dir, "the folder")
	return cmd
}

// demo is one run of the demonstration.
type demo struct {
	*runner
	dir  string
	now  func() time.Time
	host *child
	peak int64 // bytes of memory, the most of any host so far
}

// The questions. The first one is answered by the project's own documents, and the
// third has an effect, so that a crash in its middle could do harm.
const (
	demoAgent   = "librarian"
	askAnswer   = "Why is there a redo log in front of Badger?"
	askOutside  = "Read ../../etc/passwd"
	askEffect   = "Find why every call passes one door and save it to notes/door.md"
	demoTimeout = 5 * time.Minute
)

func (d *demo) run(ctx context.Context) error {
	if len(d.app.Builtins()) == 0 {
		return fmt.Errorf("demo: %w", errNone)
	}
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	defer func() { d.host.kill() }()
	begun := d.now()
	for _, scene := range []func(context.Context) error{d.setUp, d.answer, d.outside, d.crash, d.goOn} {
		if err := scene(ctx); err != nil {
			return fmt.Errorf("demo: %w; the host's log is %s", err, d.logFile())
		}
	}
	d.out.linef("\nAll of it took %s; no host used more than %d MiB of memory.", d.since(begun), d.peak>>20)
	return nil
}

func (d *demo) since(begun time.Time) time.Duration {
	return d.now().Sub(begun).Round(time.Millisecond)
}

// setUp writes the folder, compiles the plugins and starts the host.
func (d *demo) setUp(ctx context.Context) error {
	d.out.linef("1. Set up a host in %s", d.dir)
	begun := d.now()
	model, err := d.write()
	if err != nil {
		return err
	}
	cfg, err := d.load()
	if err != nil {
		return err
	}
	if _, err := d.ensureKey(ctx, cfg); err != nil {
		return err
	}
	d.out.linef("   init: vespiary.yaml, policies, docs, a key; the model is %s (%s)", model, d.since(begun))
	begun = d.now()
	names, err := d.installAll(ctx, cfg)
	if err != nil {
		return err
	}
	d.out.linef("   install: compiled %s (%s)", strings.Join(names, " and "), d.since(begun))
	begun = d.now()
	if d.host, err = d.start(ctx, cfg); err != nil {
		return err
	}
	d.out.linef("   serve: process %d answers at %s (%s)", d.host.pid(), d.host.url, d.since(begun))
	return nil
}

// answer asks what the documents can answer.
func (d *demo) answer(ctx context.Context) error {
	begun := d.now()
	d.out.linef("\n2. Ask %s: %s", demoAgent, askAnswer)
	s, err := d.ask(ctx, askAnswer, nil)
	if err != nil {
		return err
	}
	d.quote(s.turn)
	d.calls(s.calls, func(c host.CallView) bool { return c.Decision.Allowed && tooling(c) })
	d.out.linef("   (%s)", d.since(begun))
	return nil
}

// outside asks for what policy denies.
func (d *demo) outside(ctx context.Context) error {
	begun := d.now()
	d.out.linef("\n3. Ask for a file outside its folders: %s", askOutside)
	s, err := d.ask(ctx, askOutside, nil)
	if err != nil {
		return err
	}
	d.quote(s.turn)
	d.calls(s.calls, tooling)
	d.out.linef("   (%s)", d.since(begun))
	return nil
}

// tooling selects the calls that are about tools and files.
func tooling(c host.CallView) bool {
	return c.Name == abi.CallToolCall || strings.HasPrefix(c.Name, "file_")
}

// crash kills the host once the third question's effect is on record, and lets the
// turn go on in a new one.
func (d *demo) crash(ctx context.Context) error {
	begun := d.now()
	d.out.linef("\n4. Ask for an effect, and kill the host in the middle: %s", askEffect)
	cfg, err := d.load()
	if err != nil {
		return err
	}
	killed := false
	s, err := d.ask(ctx, askEffect, func(c host.CallView) error {
		if killed || c.Name != abi.CallFileWrite {
			return nil
		}
		killed = true
		d.note(d.host)
		d.out.linef("   %s is on record: kill -9 of process %d", callLine(c), d.host.pid())
		d.host.kill()
		restart := d.now()
		if d.host, err = d.start(ctx, cfg); err != nil {
			return err
		}
		d.out.linef("   serve: process %d took the session up (%s)", d.host.pid(), d.since(restart))
		return nil
	})
	if err != nil {
		return err
	}
	if !killed {
		return fmt.Errorf("the model did not write the file that it was asked for; see what it did in session %s", s.turn.Session)
	}
	d.quote(s.turn)
	if err := d.account(ctx, s.turn); err != nil {
		return err
	}
	d.out.linef("   (%s)", d.since(begun))
	return nil
}

// goOn stops the host in good order and says what to do with the folder.
func (d *demo) goOn(ctx context.Context) error {
	d.note(d.host)
	if err := d.host.stop(ctx); err != nil {
		return err
	}
	if err := d.settle(); err != nil {
		return err
	}
	d.out.linef("\n5. Go on in %s\n   vespiary serve                      (%s runs this command)", d.dir, d.host.command)
	d.out.linef("   vespiary invoke %s \"%s\"", demoAgent, "What does the README say about a first plugin?")
	d.out.linef("   vespiary sessions list; vespiary sessions show SESSION")
	return nil
}

// quote prints a turn's answer.
func (d *demo) quote(t host.Turn) {
	for line := range strings.Lines(strings.TrimSpace(clean(abi.TextOf(t.Content)))) {
		d.out.linef("   | %s", strings.TrimRight(line, "\n"))
	}
}

func (d *demo) calls(all []host.CallView, show func(host.CallView) bool) {
	for _, c := range all {
		if show(c) {
			d.out.linef("   %s", callLine(c))
		}
	}
}
