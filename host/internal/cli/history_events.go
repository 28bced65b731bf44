package cli

import (
	"strings"

	"github.com/vespiary/vespiary/host"
)

// event shows what happened to a session beside its calls. Snapshots and what else
// changes nothing for a reader are left out.
func (v *historyView) event(rec host.Record) error {
	switch rec.Kind {
	case host.EntryWait:
		var w host.Waits
		return v.body(rec, &w, func() { v.out.linef("  waits for %s", waitsFor(w.Waiting)) })
	case host.EntryApproval:
		var a host.Approval
		return v.body(rec, &a, func() { v.asked(a) })
	case host.EntrySettle:
		var s host.Settlement
		return v.body(rec, &s, func() {
			v.out.linef("  %s: %s says that it %s%s", s.Path, clean(s.By.User), strings.ReplaceAll(s.Outcome, "_", " "), reason(s.Note))
		})
	case host.EntryMigrate:
		var m host.Migrated
		return v.body(rec, &m, func() { v.out.linef("%s let it go on with module %s, by %s", clean(m.By.User), m.To, m.Mode) })
	case host.EntryResume:
		var s host.Resumed
		return v.body(rec, &s, func() { v.out.linef("%s let it go on%s", clean(s.By.User), reason(s.Note)) })
	case host.EntryErase:
		var e host.Erased
		return v.body(rec, &e, func() { v.out.linef("%s had it erased", clean(e.By.User)) })
	}
	return nil
}

// asked shows a question for an approval, or its answer.
func (v *historyView) asked(a host.Approval) {
	if a.Status == host.ApprovalPending {
		v.out.linef("  %s: asks for approval %s%s", a.Path, a.ID, reason(a.Note))
		return
	}
	v.out.linef("  %s", answered(a))
}
