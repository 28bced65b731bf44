// Package tool finds and calls the tools that plugins offer. A Catalog holds the
// sources of tools under their names; the capabilities tool_list and tool_call show
// an agent what its selectors name, and nothing else. A tool runs as a guest of its
// own, whose host calls pass the gate under the call's path: what a tool does is
// decided there, call by call, and this package decides nothing about it.
//
// The sub-package file holds the capabilities of the workspace and of mounted
// folders, the sub-package fetch the capability http_fetch.
package tool
