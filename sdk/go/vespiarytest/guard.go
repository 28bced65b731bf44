package vespiarytest

import "github.com/vespiary/vespiary/abi"

// Guard makes f see each call of the capability name before it is performed: an
// error is the call's result, and nil lets the call pass. It takes the place of
// the guard that name had; nil removes that. Denied and its siblings are guards,
// and a test may be its own, for some calls only:
//
//	h.Guard(abi.CallFileWrite, vespiarytest.Unapproved)
func (h *Host) Guard(name string, f func(Call) error) { h.guards[name] = f }

// Denied is what a policy does that forbids a call.
func Denied(c Call) error {
	return &abi.Error{Code: abi.CodeDenied, Message: c.Name + " is not permitted", Policy: "vespiarytest"}
}

// NeedsApproval is what a policy does that wants a person's yes, where nobody
// can be asked. Where somebody can, the call waits for the answer: a yes is no
// error, and Unapproved is a no.
func NeedsApproval(c Call) error {
	return &abi.Error{Code: abi.CodeNeedsApproval, Message: c.Name + " needs an approval", Policy: "vespiarytest"}
}

// Unapproved is what a person does who was asked and says no.
func Unapproved(c Call) error {
	return &abi.Error{Code: abi.CodeDenied, Message: c.Name + " needed an approval and user:owner denied it"}
}

// UnknownOutcome is what a crash does to a call that is not to be repeated. The
// call is not performed, which the plugin cannot know.
func UnknownOutcome(c Call) error {
	return &abi.Error{Code: abi.CodeUnknownOutcome, Message: c.Name + " was interrupted; it may have happened"}
}
