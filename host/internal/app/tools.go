package app

import (
	"errors"
	"maps"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/runtime"
	"github.com/vespiary/vespiary/host/internal/tool/fetch"
	"github.com/vespiary/vespiary/host/internal/tool/file"
)

// openTools adds the capabilities of files and HTTP.
func (h *Host) openTools(cfg *config.Config, into map[string]host.Capability) error {
	files := file.New(file.Options{Store: h.store, Blobs: h.journals, Now: h.opt.Now, Log: h.opt.Log})
	maps.Copy(into, files.Capabilities())
	var private []string
	if cfg.HTTP.AllowPrivate {
		private = []string{"*"}
	}
	web, err := fetch.New(fetch.Options{AllowPrivate: private})
	if err != nil {
		return err
	}
	maps.Copy(into, web.Capabilities())
	return nil
}

// guestFault tells a tool's own failing from the host's: a trap of its code that no
// host call brought about, or a failure that it reported.
func guestFault(err error) (string, bool) {
	if reported, ok := errors.AsType[*runtime.GuestError](err); ok {
		return reported.Error(), true
	}
	if trap, ok := errors.AsType[*runtime.TrapError](err); ok && trap.Err == nil {
		return trap.Error(), true
	}
	return "", false
}
