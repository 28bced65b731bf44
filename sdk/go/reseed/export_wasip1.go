package reseed

import "github.com/vespiary/vespiary/sdk/go/internal/guest"

//go:wasmexport vespiary_reseed
func exportReseed() int32 { return guest.Serve(guest.Plugin.Reseed) } //nolint:unused // the host calls it
