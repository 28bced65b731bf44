package abi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
)

// ManifestSection is the custom section of a module that holds its manifest.
const ManifestSection = "vespiary.manifest"

// PluginKind is what a plugin is.
type PluginKind string

// The kinds of plugins, and the exports each must have.
const (
	PluginAgent     PluginKind = "agent"     // handle
	PluginTool      PluginKind = "tool"      // describe, call
	PluginConnector PluginKind = "connector" // request, response
)

// Recovery is what a crash between a call's intent and its result means.
type Recovery string

// The recoveries. An unset one means RecoverOnce.
const (
	RecoverRead  Recovery = "read"  // run again
	RecoverKeyed Recovery = "keyed" // run again under the same idempotency key
	RecoverTxn   Recovery = "txn"   // commits with the store, or did not happen
	RecoverRetry Recovery = "retry" // run again, its cost counted
	RecoverOnce  Recovery = "once"  // never again: the outcome is unknown
)

// Manifest travels inside the module, so that one digest covers code and
// manifest.
type Manifest struct {
	ABI         int                 `json:"abi"`
	Kind        PluginKind          `json:"kind"`
	Name        string              `json:"name"`
	Version     string              `json:"version,omitempty"`
	Description string              `json:"description,omitempty"`
	Needs       []string            `json:"needs"`              // capabilities it may ask for; what it imports beyond is refused
	Recovery    map[string]Recovery `json:"recovery,omitempty"` // by tool name
	Data        map[string][]string `json:"data,omitempty"`     // by tool name: arguments that are data; all others are control
}

var manifestName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// ParseManifest decodes and checks the contents of ManifestSection. An unknown
// field is an error, so that a misspelt restriction is never silently dropped.
func ParseManifest(b []byte) (*Manifest, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var m Manifest
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("manifest: %w; rebuild the plugin with vespiary build", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("manifest: more than one JSON value; rebuild the plugin with vespiary build")
	}
	return &m, m.Validate()
}

// Validate reports the first thing that is wrong with the manifest.
func (m *Manifest) Validate() error {
	switch {
	case m.ABI < 1:
		return errors.New("manifest: abi is missing; this host speaks 1")
	case m.ABI > Version:
		return fmt.Errorf("manifest: abi %d is newer than this host's %d; update the host", m.ABI, Version)
	case !slices.Contains([]PluginKind{PluginAgent, PluginTool, PluginConnector}, m.Kind):
		return fmt.Errorf("manifest: kind %q is not agent, tool or connector", m.Kind)
	case !manifestName.MatchString(m.Name):
		return fmt.Errorf("manifest: name %q must be lower-case letters, digits and dashes, and begin with a letter", m.Name)
	}
	for tool, r := range m.Recovery {
		if !r.Valid() {
			return fmt.Errorf("manifest: recovery of %s is %q, not read, keyed, txn, retry or once", tool, r)
		}
	}
	return nil
}

// Valid reports whether r is one of the recoveries.
func (r Recovery) Valid() bool {
	switch r {
	case RecoverRead, RecoverKeyed, RecoverTxn, RecoverRetry, RecoverOnce:
		return true
	}
	return false
}

// Exports returns the functions that a plugin of this kind must export.
func (k PluginKind) Exports() []string {
	switch k {
	case PluginAgent:
		return []string{"handle"}
	case PluginTool:
		return []string{"describe", "call"}
	case PluginConnector:
		return []string{"request", "response"}
	}
	return nil
}
