package migrate

import "github.com/vespiary/vespiary/sdk/go/internal/guest"

//go:wasmexport migrate
func exportMigrate() int32 { return guest.Serve(guest.Running().Migrate) } //nolint:unused // the host calls it
