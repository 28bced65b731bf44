package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
)

// errNotDurable is why a command wants a host that runs.
var errNotDurable = errors.New("no host is running, and this needs one; start it with vespiary serve")

// durable does something with sessions on record: those of the running host, else of
// the store. doing says in errors what was tried.
func (r *runner) durable(ctx context.Context, doing string, do func(d Durable) error) error {
	return with(ctx, r, doing, do)
}

// with does something with the running host, else with the store, as far as it offers S.
func with[S any](ctx context.Context, r *runner, doing string, do func(S) error) error {
	s, _, err := r.service(ctx)
	if err != nil {
		return err
	}
	if offered, ok := s.(S); ok {
		err = do(offered)
	} else {
		err = errNotDurable
	}
	if err != nil {
		_ = s.Close()
		return while(doing, err)
	}
	return s.Close()
}

// while says what was tried, unless the host itself has begun with that, or what failed was
// said already.
func while(doing string, err error) error {
	if errors.Is(err, errFailed) || strings.HasPrefix(err.Error(), doing+": ") {
		return err
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// jsonFlag lets a command print what it got as JSON.
func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print it as JSON")
}

// show prints what a command got, as JSON or as person has it.
func (r *runner) show(asJSON bool, v any, person func()) error {
	if asJSON {
		return r.json(v)
	}
	person()
	return nil
}

// goOn says how to go on with a session.
func (r *runner) goOn(s host.Session) {
	r.out.linef("go on with it: vespiary invoke %s TEXT --session %s", s.Agent, s.ID)
}

// shown bounds what is shown of a document in a line, in bytes.
const shown = 300

// short is a document in one line, cut where it is long.
func short(text string) string {
	text = oneLine(text)
	if len(text) <= shown {
		return text
	}
	cut := shown
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes)", text[:cut], len(text))
}

// oneLine is a text that somebody else has written, without what would begin a line or a
// column.
func oneLine(text string) string {
	return clean(strings.NewReplacer("\n", " ", "\t", " ").Replace(text))
}
