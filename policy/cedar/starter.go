package cedar

import (
	"embed"
	"io/fs"
)

var (
	//go:embed starter/*.cedar
	starter embed.FS
	//go:embed flow/*.cedar
	flow embed.FS
)

// Starter returns the policy files that a new project begins with.
func Starter() fs.FS { return sub(starter, "starter") }

// Flow returns the policy files about content from outside: what it steers, where it may
// go, and what is remembered of it. They only forbid, and are for compiling together with
// the files of a project; no @id of theirs is in Starter.
func Flow() fs.FS { return sub(flow, "flow") }

func sub(files embed.FS, dir string) fs.FS {
	s, err := fs.Sub(files, dir)
	if err != nil {
		panic("policies of " + dir + ": " + err.Error()) // a constant, valid path
	}
	return s
}
