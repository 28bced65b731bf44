package cedar

import (
	"embed"
	"io/fs"
)

//go:embed starter/*.cedar
var starter embed.FS

// Starter returns the policy files that a new project begins with.
func Starter() fs.FS {
	sub, err := fs.Sub(starter, "starter")
	if err != nil {
		panic("starter policies: " + err.Error()) // a constant, valid path
	}
	return sub
}
