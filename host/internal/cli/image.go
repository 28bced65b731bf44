package cli

import (
	"fmt"
	"strings"
)

// reseedExport is what a guest is given randomness of its own by, after it was copied.
const reseedExport = "vespiary_reseed"

// imageOf returns what is known of a module's image. A module that no host loads has
// none, and is worth reading all the same.
func imageOf(i Image, err error) Image {
	if err != nil {
		i.NoImage = []string{fmt.Sprintf("no host loads it: %v", err)}
	}
	return i
}

// say says how guests begin, and what they then have in common.
func (i Image) say(out printer) {
	if len(i.NoImage) > 0 {
		out.linef("image    none: %s", clean(strings.Join(i.NoImage, "; ")))
		out.linef("         each guest is initialised by itself, and an idle session's is run again on its record")
		return
	}
	out.linef("image    guests begin as copies of one that was initialised once, and idle ones are put away")
	if i.Reseeds {
		out.linef("         it exports %s: each copy is given randomness of its own", reseedExport)
		return
	}
	out.linef("         it does not export %s: random state, environment and whatever else it takes in", reseedExport)
	out.linef("         while it is initialised is the same in all copies, and nothing outside can change it")
}
