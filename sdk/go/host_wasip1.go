package vespiary

import (
	"github.com/vespiary/vespiary/sdk/go/internal/block"
	"github.com/vespiary/vespiary/sdk/go/internal/guest"
)

// capability is a function that the host offers, and its import.
type capability struct {
	name string
	call func(block uint64) uint64
}

func (c *Context) send(k capability, request []byte) []byte { return block.Send(k.call, request) }

// Config returns a value of the plugin's configuration, as the host's operator
// set it. The agent's own settings are in Event.Agent.Options.
func (c *Context) Config(key string) (value string, ok bool) {
	b := block.Send(configGet, []byte(key))
	return string(b), len(b) > 0
}

func (c *Context) debug(message string) { block.Tell(logDebug, []byte(message)) }
func (c *Context) info(message string)  { block.Tell(logInfo, []byte(message)) }
func (c *Context) warn(message string)  { block.Tell(logWarn, []byte(message)) }
func (c *Context) error(message string) { block.Tell(logError, []byte(message)) }

//go:wasmexport handle
func exportHandle() int32 { return guest.Serve(guest.Running().Handle) } //nolint:unused // the host calls it

//go:wasmexport describe
func exportDescribe() int32 { return guest.Serve(guest.Plugin.Describe) } //nolint:unused // the host calls it

//go:wasmexport call
func exportCall() int32 { return guest.Serve(guest.Plugin.Call) } //nolint:unused // the host calls it
