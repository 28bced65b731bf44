// Package gate is the one door: every host call of every guest passes Turn.Do,
// where it is answered from the journal or else labelled, authorised, recorded,
// performed and accounted, in this order. Capabilities stand behind it in a table
// and are reachable in no other way.
package gate
