package save

import "github.com/vespiary/vespiary/sdk/go/internal/guest"

//go:wasmexport save
func exportSave() int32 { return guest.Serve(guest.Running().Save) } //nolint:unused // the host calls it
