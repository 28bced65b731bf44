// Package crashtest holds no code: its tests kill whole hosts, again and again, in the
// middle of work that acts on the world, and then compare what the sessions say with
// what the world saw.
package crashtest
