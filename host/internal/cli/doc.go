// Package cli is the command vespiary. A command that needs what the host knows
// asks the running host over HTTP, and opens the store itself only where none
// runs. What needs the assembled host goes through the interface App.
package cli
