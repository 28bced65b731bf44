// Command basic is the set of tools that most agents want: list, read, search and
// write files, and tell the time.
//
// Paths go to the host as the model wrote them: what lies outside the workspace
// is for policy to see and to deny, not for a plugin to guess at.
package main

import (
	"time"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

var (
	_ = vespiary.Tool("files_list",
		"Lists the files and folders of a folder, or of the whole workspace.",
		list, abi.ToolAnnotations{Title: "List files", ReadOnlyHint: true})

	_ = vespiary.Tool("files_read",
		"Reads a text file, or some of its lines.",
		read, abi.ToolAnnotations{Title: "Read a file", ReadOnlyHint: true})

	_ = vespiary.Tool("files_search",
		"Searches the text files below a folder for words and returns the passages that fit best, each with its file, line and heading. Use it to find where something is written before reading whole files.",
		search, abi.ToolAnnotations{Title: "Search files", ReadOnlyHint: true})

	_ = vespiary.Tool("files_write",
		"Writes a text file: replaces it, adds to its end, or removes it.",
		write, abi.ToolAnnotations{Title: "Write a file", DestructiveHint: new(true)})

	_ = vespiary.Tool("clock_now",
		"Tells the date and time.",
		func(_ *vespiary.Context, in clockInput) (clockOutput, error) {
			return tell(time.Now(), in.Zone) //nolint:forbidigo // a guest's clock is its host's
		}, abi.ToolAnnotations{Title: "Tell the time", ReadOnlyHint: true})
)

func main() {}
