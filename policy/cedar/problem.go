package cedar

import (
	"errors"
	"fmt"
)

// Problem is one fault in a policy file. Load and Compile return all they find,
// joined; each is reachable with errors.As or by unwrapping the join.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`   // from 1; 0 if the file as a whole is at fault
	Policy string `json:"policy,omitempty"` // its @id, if it has one
	What   string `json:"what"`             // what is wrong
	Fix    string `json:"fix"`              // what to do about it
}

// Error renders the problem in one line.
func (p *Problem) Error() string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	if p.Policy != "" {
		where += fmt.Sprintf(": policy %q", p.Policy)
	}
	return fmt.Sprintf("%s: %s; %s", where, p.What, p.Fix)
}

// joined turns problems into one error, nil if there are none.
func joined(problems []*Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
