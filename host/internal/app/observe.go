package app

import "github.com/vespiary/vespiary/host/internal/telemetry"

// storeStats fits the store's counts to the metrics.
func (h *Host) storeStats() telemetry.StoreStats {
	s := h.store.Stats()
	return telemetry.StoreStats{
		Commits: s.Commits, Conflicts: s.Conflicts, Refused: s.Refused,
		Bytes: s.Bytes, Syncs: s.Syncs, FreeBytes: s.FreeBytes,
	}
}
