package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/policy"
)

// What an event is in words that several formats have.

// result is the record of what came of the event, or nil.
func (e event) result() *policy.Record {
	if e.outcome == nil && e.Kind == policy.RecordOutcome {
		return e.Record
	}
	return e.outcome
}

// activity tells which of the four that OCSF knows an action is, as far as its kinds and its
// name say, and how it is called.
func (e event) activity() (id int, name string) {
	action := strings.ToLower(e.Action[strings.LastIndexByte(e.Action, '.')+1:])
	is := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool {
			return strings.HasPrefix(action, w) || strings.HasPrefix(action, "connector"+w)
		})
	}
	effect, observe := slices.Contains(e.Kinds, "effect"), slices.Contains(e.Kinds, "observe")
	asked := len(e.Kinds) == 0 // of the host, by a person or service
	switch {
	case observe && !effect, asked && is("read", "list", "export"):
		return activityRead, "Read"
	case (effect || asked) && is("delete", "erase", "revoke", "remove"):
		return activityDelete, "Delete"
	case (effect || asked) && is("create", "open", "import", "install", "fork"):
		return activityCreate, "Create"
	case effect:
		return activityUpdate, "Update"
	}
	return activityOther, e.operation()
}

func (e event) operation() string {
	return cmp.Or(e.Action, e.Call, string(e.Kind))
}

// readOnly reports whether the event changed nothing.
func (e event) readOnly() bool {
	id, _ := e.activity()
	return id == activityRead
}

func (e event) status() (id int, caption string) {
	switch code := e.code(); {
	case e.Decision != nil && !e.Decision.Allowed, code != "" && code != "ok" && e.Kind != policy.RecordTask:
		return statusFailure, "Failure"
	case code != "":
		return statusSuccess, "Success"
	}
	return statusUnknown, "Unknown"
}

// code is what became of the event: "ok", an error, the state of a task.
func (e event) code() string {
	if o := e.result(); o != nil {
		return o.Code
	}
	if e.Code == "" && e.Decision != nil && !e.Decision.Allowed {
		return "denied"
	}
	return e.Code
}

func (e event) detail() string {
	if e.Decision != nil && len(e.Decision.Errors) > 0 {
		return strings.Join(e.Decision.Errors, "; ")
	}
	if o := e.result(); o != nil && o.Note != "" {
		return o.Note
	}
	return e.Note
}

func (e event) severity() int {
	switch {
	case e.code() == "unknown_outcome":
		return severityMedium
	case e.Decision != nil && !e.Decision.Allowed:
		return severityLow
	}
	return severityInformational
}

// user is on whose behalf: the last of those who act.
func (e event) user() string {
	for _, a := range slices.Backward(e.Who) {
		if a.User != "" {
			return a.User
		}
	}
	return ""
}

func (e event) task() string {
	for _, a := range e.Who {
		if a.Task != "" {
			return a.Task
		}
	}
	return e.Chain
}

func where(c policy.Cause) string {
	if c.File == "" || c.Line == 0 {
		return c.File
	}
	return fmt.Sprintf("%s:%d", c.File, c.Line)
}

// sentence says what happened, for people.
func (e event) sentence() string {
	who := cmp.Or(e.user(), "the host")
	if a := e.ocsfAgent(); a != nil {
		who = fmt.Sprintf("agent %s for %s", a.UID, who)
	}
	what := e.operation()
	if e.Resource.Type != "" {
		what += " " + e.Resource.Type + " " + e.Resource.ID
	}
	switch code := e.code(); {
	case e.Decision != nil && !e.Decision.Allowed:
		return who + " was denied " + what
	case code != "":
		return who + ": " + what + ": " + code
	}
	return who + " was allowed " + what
}
