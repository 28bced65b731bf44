// Package vespiary is the root of a host for AI agents whose every part that acts,
// agents, tools and connectors, is a WebAssembly module that touches nothing but
// what the host does for it.
//
// The command is host/cmd/vespiary; guests are written with sdk/go over the
// contract in abi. This package holds the sources that a new plugin is built
// from, so that the command can write a project that builds without a network, and
// the documents that its demonstration is about.
package vespiary

import "embed"

// SDK holds the sources of the packages abi and sdk/go.
//
//go:embed abi/*.go sdk/go/*.go sdk/go/internal/*/*.go sdk/go/vespiarytest/*.go
var SDK embed.FS

// Docs holds the project's own documents, which the demonstration asks about.
//
//go:embed README.md RATIONALE.md CHANGELOG.md
var Docs embed.FS
